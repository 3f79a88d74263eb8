//! Plans equal debug information and symbols of the same build, for OpenSSL of every series,
//! compiled here.
//!
//! The number of comparisons is printed (`cargo test … -- --nocapture`). `cargo xtask test
//! --matrix` compares every series in every variant.

use reprise_tests::carriers::build::build;
use reprise_tests::carriers::code::Code;
use reprise_tests::carriers::layout;
use reprise_tests::carriers::plan::{Plan, inspect};
use reprise_tests::carriers::release::{FIRST, Release, SERIES, Variant};
use reprise_tests::carriers::verdict::{FIELDS, STRIPPED_FIELDS, Verdict};

/// Plans each build from its stripped copy and compares the plan with the copy that has symbols.
fn assert_plans_match(builds: impl IntoIterator<Item = (Release, Variant)>) {
    let mut faults = Vec::new();
    let mut count = 0;
    for (release, variant) in builds {
        let name = format!("{} {}", release.1, variant.name());
        let verdict = verdict(release, variant);
        println!(
            "{name}: {} comparisons, {} differ",
            verdict.checks,
            verdict.faults.len()
        );
        let named = verdict
            .faults
            .into_iter()
            .map(|fault| format!("\n  {name}: {fault}"));
        faults.extend(named);
        count += 1;
    }
    assert!(count > 0, "nothing was compared");
    assert!(faults.is_empty(), "of {count} builds:{}", faults.concat());
}

fn verdict(release: Release, variant: Variant) -> Verdict {
    let built = build(release, variant);
    let mut verdict = Verdict::default();
    let plan = match inspect(&built.ssl.stripped) {
        Ok(plan) => plan,
        Err(reason) => {
            verdict.faults.push(format!("no plan: {reason}"));
            return verdict;
        }
    };
    let truth = layout::read(&built.ssl.with_symbols, &built.crypto.with_symbols);
    let wanted: &[&str] = match variant {
        Variant::Stripped => &STRIPPED_FIELDS,
        _ => &FIELDS,
    };
    verdict.fields(&plan, &truth, wanted);
    let (ssl, crypto) = (
        Code::read(&built.ssl.with_symbols),
        Code::read(&built.crypto.with_symbols),
    );
    verdict.named(&plan, &ssl, &crypto);
    verdict.rejections(&plan);
    verdict.shape(&plan, &ssl, &crypto);
    others(&mut verdict, &plan, release, variant);
    verdict
}

/// Checks the parts of a plan other than fields.
fn others(verdict: &mut Verdict, plan: &Plan, release: Release, variant: Variant) {
    let names = variant != Variant::Stripped;
    verdict.equal("the version", &plan.version.as_deref(), &Some(release.1));
    verdict.equal("the hook", &plan.hook.as_str(), &"state_machine");
    verdict.equal("a probe of SSL_free", &plan.free.is_some(), &names);
    verdict.equal("a probe of errors", &plan.error.is_some(), &names);
}

#[test]
fn every_series_with_default_options() {
    assert_plans_match(SERIES.map(|release| (release, Variant::Plain)));
}

/// Covers each variant at least once, with a release for which it is common.
#[test]
fn every_variant_once() {
    let of = |version: &str, variant| {
        let release = SERIES
            .into_iter()
            .find(|release| release.1.starts_with(version));
        (release.expect("a series"), variant)
    };
    assert_plans_match([
        of("1.1.1", Variant::Minimal),
        of("1.1.1", Variant::Program),
        of("3.0", Variant::Optimised),
        of("3.0", Variant::FramePointers),
        of("3.2", Variant::Lto),
        of("3.5", Variant::Minimal),
        of("3.5", Variant::Hardened),
        of("3.5", Variant::Arm),
        of("3.6", Variant::Stripped),
        of("4.0", Variant::Arm),
    ]);
}

/// A plan with offsets from a table of versions would fail here.
#[test]
fn fields_at_unusual_offsets_are_found() {
    for release in SERIES
        .into_iter()
        .filter(|release| ["1.1.1w", "3.5.5"].contains(&release.1))
    {
        let [plain, packed] = [Variant::Plain, Variant::Packed].map(|variant| {
            let built = build(release, variant);
            layout::read(&built.ssl.with_symbols, &built.crypto.with_symbols)
        });
        let moved = plain
            .keys()
            .filter(|field| plain[*field] != packed[*field])
            .count();
        println!("{}: {moved} of {} fields moved", release.1, plain.len());
        assert!(
            moved > plain.len() / 2,
            "{}: few fields moved: {plain:x?}, {packed:x?}",
            release.1
        );
        assert_plans_match([(release, Variant::Packed)]);
    }
}

/// Changes one part of a plan.
type Change = fn(&mut Plan);

fn set(plan: &mut Plan, field: &str, value: serde_json::Value) {
    plan.fields.insert(field.to_owned(), value);
}

/// The comparison reports each part of a plan that is wrong.
#[test]
fn a_wrong_plan_is_reported() {
    let release = SERIES
        .into_iter()
        .find(|release| release.1 == "3.5.5")
        .expect("a series");
    let built = build(release, Variant::Plain);
    let right = inspect(&built.ssl.stripped).expect("a plan");
    let truth = layout::read(&built.ssl.with_symbols, &built.crypto.with_symbols);
    let (ssl, crypto) = (
        Code::read(&built.ssl.with_symbols),
        Code::read(&built.crypto.with_symbols),
    );
    let faults = |plan: &Plan| {
        let mut verdict = Verdict::default();
        verdict.fields(plan, &truth, &FIELDS);
        verdict.named(plan, &ssl, &crypto);
        verdict.rejections(plan);
        verdict.shape(plan, &ssl, &crypto);
        verdict.faults.concat()
    };
    assert_eq!(faults(&right), "");
    let wrong: [(&str, Change); 9] = [
        ("rejected session at", |plan| {
            plan.rejections[0] = plan.entries[0];
        }),
        ("where sessions are rejected is not found", |plan| {
            plan.rejections.clear();
        }),
        ("hit is planned at", |plan| set(plan, "hit", 4.into())),
        ("wbio is not found", |plan| {
            set(plan, "wbio", serde_json::Value::Null);
        }),
        ("is no instruction's first byte", |plan| {
            plan.exits[0].offset += 1;
        }),
        ("call frames have", |plan| plan.exits[0].sp_delta += 8),
        ("entry at file offset", |plan| {
            plan.entries[0] = plan.free.expect("a probe of SSL_free");
        }),
        ("is not executable", |plan| plan.exits[0].offset = 0),
        ("errors are probed at", |plan| {
            let error = plan.error.as_mut().expect("a probe of errors");
            error.points.pop();
        }),
    ];
    for (words, change) in wrong {
        let mut plan = right.clone();
        change(&mut plan);
        let found = faults(&plan);
        assert!(
            found.contains(words),
            "{words:?} is not reported: {found:?}"
        );
    }
}

#[test]
#[ignore = "nine more builds: some minutes the first time"]
fn the_first_release_of_every_series() {
    assert_plans_match(FIRST.map(|release| (release, Variant::Hardened)));
}

#[test]
#[ignore = "a hundred builds: about half an hour the first time"]
fn every_series_in_every_variant() {
    assert_plans_match(
        SERIES
            .into_iter()
            .flat_map(|release| Variant::ALL.map(|variant| (release, variant))),
    );
}
