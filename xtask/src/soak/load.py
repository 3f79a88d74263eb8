"""Load of `cargo xtask soak`: one kind per process, which ends at the end of its input."""

import argparse
import contextlib
import ctypes
import itertools
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

ENDED = threading.Event()


def watch_parent():
    """Set ENDED at the end of the input."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    ENDED.set()


def every(seconds):
    """Yield 0, 1, 2 … at this interval until the end."""
    for turn in itertools.count():
        if ENDED.wait(seconds):
            return
        yield turn


def client_context():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def answer(context, connection):
    with contextlib.suppress(OSError), connection:
        connection.settimeout(30)
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            tls.unwrap()


def server(args):
    """Serve TLS, each connection on a thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{args.directory}/certificate.pem", f"{args.directory}/key.pem")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A successor listens before its predecessor ends.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", args.port))
        listener.listen(512)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(context, connection), daemon=True).start()


def reloads(args):
    """Replace a server every ten seconds."""
    command = [sys.executable, __file__, "server", "--directory", args.directory]
    command += ["--port", str(args.port)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE)
    for _ in every(10):
        successor = subprocess.Popen(command, stdin=subprocess.PIPE)
        time.sleep(1)
        running.terminate()
        running.wait()
        running = successor
    running.terminate()


def control(args):
    """Ten handshakes per second, nine of ten resumed; writes their number after each."""
    context, session = client_context(), None
    for count in every(0.1):
        with socket.create_connection(
            ("127.0.0.1", args.port), timeout=60, source_address=(args.source, 0)
        ) as tcp, context.wrap_socket(tcp, session=session) as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while tls.recv(4096):
                pass
            session = None if count % 10 == 0 else tls.session
        with open(f"{args.directory}/control.new", "w") as file:
            file.write(str(count + 1))
        os.replace(f"{args.directory}/control.new", f"{args.directory}/control")


def processes(args):
    """Short-lived client processes from changing addresses."""
    running = []
    for turn in every(0.3):
        source = f"127.1.{turn // 250 % 4}.{turn % 250 + 1}"
        command = ["timeout", "5", "openssl", "s_client", "-connect", f"127.0.0.1:{args.port}"]
        child = subprocess.Popen(
            command + ["-bind", f"{source}:0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        running = [other for other in running if other.poll() is None] + [child]


def system_libssl():
    with open("/proc/self/maps") as maps:
        return next(line.split()[-1] for line in maps if "/libssl" in line)


def use_copy(library, port):
    """Make a handshake through a copy of libssl that is removed while it is mapped."""
    copy = ctypes.CDLL(library)
    os.unlink(library)
    time.sleep(1)
    copy.TLS_client_method.restype = copy.SSL_CTX_new.restype = ctypes.c_void_p
    copy.SSL_new.restype = ctypes.c_void_p
    context = copy.SSL_CTX_new(ctypes.c_void_p(copy.TLS_client_method()))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as tcp:
        tcp.settimeout(None)
        connection = ctypes.c_void_p(copy.SSL_new(ctypes.c_void_p(context)))
        copy.SSL_set_fd(connection, tcp.fileno())
        copy.SSL_connect(connection)
        copy.SSL_free(connection)
    time.sleep(1)


def libraries(args):
    """Processes that load a copy of libssl with dlopen and remove the file."""
    source = system_libssl()
    running = []
    for turn in every(2):
        library = f"{args.directory}/libssl-{turn}.so.3"
        shutil.copy(source, library)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with contextlib.suppress(OSError):
                use_copy(library, args.port)
            os._exit(0)
        running.append(child)
        running = [pid for pid in running if os.waitpid(pid, os.WNOHANG) == (0, 0)]


CONTAINER = """
ip link set lo up
openssl s_server -accept 4433 -cert certificate.pem -key key.pem -www -quiet >/dev/null 2>&1 &
sleep 0.5
timeout 5 openssl s_client -connect 127.0.0.1:4433 </dev/null >/dev/null 2>&1
kill %1
"""


def containers(args):
    """Server and client in network, PID and mount namespaces and a cgroup of their own."""
    for turn in every(2):
        cgroup = f"{args.cgroup}/container-{turn}.scope"
        enter = ""
        if args.cgroup:
            os.mkdir(cgroup)
            enter = f"echo $$ >{cgroup}/cgroup.procs; "
        unshare = "exec unshare --net --mount --pid --fork --kill-child timeout 10 bash -c"
        subprocess.run(
            ["bash", "-c", f'{enter}{unshare} "$0"', CONTAINER],
            cwd=args.directory,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(50):
            if not os.path.exists(cgroup):
                break
            # Its last process may still be ending.
            with contextlib.suppress(OSError):
                os.rmdir(cgroup)
            time.sleep(0.1)


def client_hello():
    outgoing = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="soak.invalid")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def tls_attacks(args):
    """Port scans, garbage, broken, stalled and repeated ClientHellos from many addresses."""
    hello, stalled = client_hello(), []
    for turn in every(0.05):
        source = f"127.2.{random.randrange(8)}.{random.randrange(1, 250)}"
        with contextlib.suppress(OSError):
            tcp = socket.create_connection(
                ("127.0.0.1", args.port), timeout=2, source_address=(source, 0)
            )
            kind = turn % 6
            if kind == 1:
                tcp.sendall(random.randbytes(600))
            elif kind == 2:
                tcp.sendall(hello[: random.randrange(1, len(hello))])
                stalled.append(tcp)
            elif kind == 3:
                tcp.sendall(hello)
            elif kind == 4:
                broken = bytearray(client_hello())
                broken[random.randrange(5, len(broken))] ^= 0xFF
                tcp.sendall(broken)
            elif kind == 5:
                tcp.sendall(client_hello())
                stalled.append(tcp)
            if kind not in (2, 5):
                tcp.close()
        for old in stalled[:-100]:
            old.close()
        stalled = stalled[-100:]


def http_attacks(args):
    """Clients of the agent that pipeline requests and do not read, and garbage."""
    waiting = []
    for turn in every(0.2):
        with contextlib.suppress(OSError):
            tcp = socket.create_connection(("127.0.0.1", args.agent), timeout=2)
            tcp.settimeout(0.1)
            waiting.append(tcp)
            if turn % 10 == 0:
                tcp.sendall(random.randbytes(3000))
            else:
                tcp.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
        for old in waiting[:-16]:
            old.close()
        waiting = waiting[-16:]


def main():
    kinds = [server, reloads, control, processes, libraries, containers, tls_attacks, http_attacks]
    by_name = {kind.__name__: kind for kind in kinds}
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=by_name)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--source")
    parser.add_argument("--agent", type=int)
    parser.add_argument("--cgroup")
    args = parser.parse_args()
    if args.cgroup:
        with open(f"{args.cgroup}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
    threading.Thread(target=watch_parent, daemon=True).start()
    if args.kind == "server":
        threading.Thread(target=lambda: (ENDED.wait(), os._exit(0)), daemon=True).start()
    by_name[args.kind](args)


main()
