"""``indelible serve`` as it is started by a user: what it says, what it makes, what it refuses, and how it ends."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import attrs
import pytest
import trustme
import urllib3
from commandline import CommandLine, Ran
from cryptography.hazmat.primitives import serialization
from docrunner import usual_port

from indelible import Profile, connect
from indelible.cli import exits
from indelible.server.access import LOG_NAME, Access
from indelible.server.settings import Settings

PATIENCE = 30
STORE = "sqlite:///service.db"
KEY = re.compile(r"idl_[a-z2-7]{12}_[a-z2-7]{52}")


class Running:
    """A service that was started: what it said, and how it ends."""

    def __init__(self, process):
        self.process = process
        self.said = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))

    def says(self, pattern):
        """Wait for a line, and give its match."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            for line in list(self.said):
                if match := re.search(pattern, line):
                    return match
            assert not ended and time.monotonic() < deadline, self.said
            time.sleep(0.01)

    @property
    def url(self):
        return self.says(r"^indelible listens on (https?://\S+)$")[1]

    def get(self, path, pool=None):
        """The status of an answer, once there is one."""
        answer = (pool or urllib3).request("GET", self.url + path, retries=urllib3.Retry(5, backoff_factor=0.1))
        return answer.status

    def call(self, name, body, profile, **options):
        return urllib3.request(
            "POST",
            f"{self.url}/v1/log/{name}",
            body=json.dumps({"logName": "notes"} | body).encode(),
            headers=urllib3.make_headers(basic_auth=f"{profile.customer_id}:{profile.apikey.reveal().decode()}"),
            **{"retries": False, "timeout": PATIENCE} | options,
        )

    def ends(self, number=signal.SIGTERM):
        """Tell it to stop, and see that it does so in time, and well; give what it printed on stdout."""
        self.process.send_signal(number)
        begin = time.monotonic()
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
        took = time.monotonic() - begin
        self._reader.join(PATIENCE)
        assert code == exits.OK and took < 5, (code, took, self.said)
        return self.process.stdout.read() if self.process.stdout else ""


class User:
    """Starts commands in a folder, which is the user's home too."""

    def __init__(self, folder):
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("INDELIBLE", "PYTEST"))}
        self.env = kept | {
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "data"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.getcwd(),
        }

    def command(self, *argv, code=None):
        return [sys.executable, *(["-m", "indelible"] if code is None else ["-c", code]), *map(str, argv)]

    def __call__(self, *argv, code=None):
        """Run a command to its end."""
        done = subprocess.run(
            self.command(*argv, code=code), capture_output=True, text=True, cwd=self.folder, env=self.env, timeout=60
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def serving(self, *argv, code=None, command=None, **options):
        """A service that was started, on any free port unless told otherwise; ended if the test did not."""
        argv = argv if "--port" in argv or "--usual" in argv else (*argv, "--port", 0)
        words = self.command("serve", *(word for word in argv if word != "--usual"), code=code)
        process = subprocess.Popen(
            [*command, *words[3:]] if command else words,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options,
            cwd=self.folder,
            env=self.env,
        )
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                finally:
                    process.kill()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def access(self, store=STORE):
        """The access log in a store, as the service has it."""
        return contextlib.closing(Settings(store=store.replace("///", f"///{self.folder}/")).open_store())

    def keys(self, store=STORE):
        with self.access(store) as backend:
            return Access(backend).keys()

    def shell(self, line):
        """Run a line as it would be typed."""
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=self.folder, env=self.env)
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cli(tmp_path):
    return User(tmp_path)


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Run a service that must not come to serving, within this process; give its one line."""
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    for name, value in User(tmp_path).env.items():
        monkeypatch.setenv(name, value)
    return lambda code, *argv: cli.fails(code, "serve", *argv, *([] if "--port" in argv else ["--port", 0]))


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate for this machine, its key, who vouches for it, and the key of another."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    mine, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("other.example")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    mine.private_key_pem.write_to_path(folder / "key.pem")
    other.private_key_pem.write_to_path(folder / "other.pem")
    for blob in mine.cert_chain_pems:
        blob.write_to_path(folder / "chain.pem", append=True)
    return folder


def lines_to_try(service):
    """The commands that the service printed, once it has printed them all."""
    service.says("indelible show notes")
    return [line.strip() for line in service.said if line.startswith("  indelible ")]


# The first start, and those after it


def test_the_first_start_makes_a_private_profile_and_no_other_does(cli):
    """Without options the first start makes a store, a customer and a profile of mode 0600; later ones use them."""
    path = cli.folder / "data/indelible/profile.json"
    with usual_port():
        with cli.serving("--usual") as service:
            assert service.url == "http://127.0.0.1:8420"
            lines = lines_to_try(service)
            assert [shlex.split(line)[1] for line in lines] == ["create", "put", "show"]
            assert all(line.endswith(f"--profile {path}") for line in lines)
            assert f"{path} is a profile for it" in service.said[1]
            kept = path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            profile = Profile.load(path)
            assert (profile.endpoint_url, profile.customer_id) == ("http://127.0.0.1:8420", "me")
            assert KEY.fullmatch(profile.apikey.reveal().decode())
            assert service.call("create", {}, profile).status == 200
            assert service.ends() != ""
            assert not KEY.search("".join(service.said)) and profile.master_key.to_base64() not in "".join(service.said)
        with cli.serving("--usual") as service:
            assert lines_to_try(service) == lines
            assert service.said[1] == f"Your profile is {path}"
            assert service.call("describe", {}, profile).status == 200
            service.ends()
    assert path.read_bytes() == kept
    assert [key.customer_id for key in cli.keys("sqlite:///data/indelible/indelible.db")] == ["me"]


def test_the_lines_to_try_work(cli):
    """The three lines that are printed run as they stand, and the last shows what the second wrote."""
    with cli.serving("--store", STORE, "--profile", "p q.json") as service:
        create, put, show = (cli.shell(line) for line in lines_to_try(service))
        assert [(ran.code, ran.err) for ran in (create, put, show)] == [(0, "")] * 3
        assert show.out.splitlines()[1].split() == ["hello", '"world"', "1"]
        service.ends()


def test_the_usual_profile_is_not_made_twice(cli):
    """Where others may use the service already, and its first profile is gone, no new one is made."""
    cli("admin", "customer", "add", "acme")
    with usual_port(), cli.serving("--usual") as service:
        service.says("indelible admin customer add ID$")
        assert service.said[1] == "It knows 1 customer and 0 keys. To add more, even while it runs:"
        service.ends()
    assert not (cli.folder / "data/indelible/profile.json").exists()


def test_a_profile_where_it_is_wanted(cli):
    """``--profile`` makes one for any store and address, the first time; it opens all of the service."""
    with cli.serving("--store", STORE, "--profile", "p q.json") as service:
        assert all(line.endswith("--profile 'p q.json'") for line in lines_to_try(service))
        kept = (cli.folder / "p q.json").read_bytes()
        profile = Profile.load(cli.folder / "p q.json")
        assert profile.endpoint_url == service.url
        assert service.call("create", {}, profile).status == 200
        assert service.call("trim", {"before": 0}, profile).status == 200
        port = service.url.rpartition(":")[2]
    with cli.serving("--store", STORE, "--profile", "p q.json", "--port", port) as service:
        lines_to_try(service)
        assert service.said[1] == "Your profile is p q.json"
        assert service.call("describe", {}, profile).status == 200
    with cli.serving("--store", STORE, "--profile", "p q.json") as service:
        assert service.says("Your profile is") and service.url != profile.endpoint_url
        assert service.said[1] == f"Your profile is p q.json, which leads to {profile.endpoint_url}"
    assert (cli.folder / "p q.json").read_bytes() == kept and len(cli.keys()) == 1
    with cli.serving("--store", STORE, "--profile", "second.json") as service:
        lines_to_try(service)
    assert [key.customer_id for key in cli.keys()] == ["me", "me"]


def test_a_profile_of_another_service_is_left_alone(cli):
    """A profile whose key the store does not know is said to be of no use, and stays as it is."""
    cli("init", "--profile", "mine.json")
    kept = (cli.folder / "mine.json").read_bytes()
    with cli.serving("--store", STORE, "--profile", "mine.json") as service:
        service.says("admin key add")
        assert "mine.json is of no use here" in service.said[1]
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
    cli("admin", "key", "revoke", cli.keys()[0].id, "--store", STORE)
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        service.says("p.json is of no use here")
    assert (cli.folder / "mine.json").read_bytes() == kept and cli.keys() == []


def test_a_profile_that_cannot_be_written_leaves_no_key(cli, refused):
    """If the profile cannot be written, the service does not start, and no key is left that nobody has."""
    assert "none/p.json cannot be written" in refused(2, "--store", STORE, "--profile", "none/p.json", "--port", 0)
    assert cli.keys() == []


@pytest.mark.parametrize("given", [["--store", STORE], ["--config", "my service.toml"]], ids=["store", "config"])
def test_how_to_let_others_in(cli, given):
    """Any other store or address gets no profile; the commands that are printed make one, while the service runs."""
    (cli.folder / "my service.toml").write_text(f'store = "{STORE}"\nport = 0\n')
    with cli.serving(*given) as service:
        service.says("admin key add")
        add, key = (line.strip().replace(" ID", " acme") for line in service.said[2:4])
        assert not list(cli.folder.rglob("profile.json"))
        for line in (add, key.replace("FILE", "acme.json")):
            ran = cli.shell(line)
            assert (ran.code, ran.err) == (0, ""), ran
        profile = Profile.load(cli.folder / "acme.json")
        deadline = time.monotonic() + PATIENCE
        while service.call("create", {}, profile).status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        service.ends()


def test_the_password_of_a_store_is_not_printed(cli, monkeypatch):
    """Only the URL of a SQLite store is printed again; others may hold a password."""
    from indelible.cli import serve

    assert serve._option(None, "sqlite:///a b.db") == " --store 'sqlite:///a b.db'"
    assert serve._option(Path("x.toml"), "postgresql://me:wombat@db/logs") == " --store URL"


def test_a_store_in_memory_is_for_trying(cli, refused):
    """A store in memory works with a profile of its own; without, nobody could use it."""
    with cli.serving("--store", "memory:", "--profile", "p.json") as service:
        lines_to_try(service)
        profile = Profile.load(cli.folder / "p.json")
        assert service.call("create", {}, profile).status == 200
        service.ends()
    for profile in ([], ["--profile", "p.json"]):
        assert "nobody could use it" in refused(2, "--store", "memory:", *profile)


# Where it listens, and what it is told


def test_port_0_is_any_free_port(cli):
    """With port 0 the real port is printed, and the service answers there; two of them do not meet."""
    with cli.serving() as one, cli.serving("--store", STORE) as two:
        assert one.url != two.url and one.url.startswith("http://127.0.0.1:")
        assert [it.get(path) for it in (one, two) for path in ("/healthz", "/readyz", "/metrics")] == [200] * 6


def test_options_come_before_the_file(cli):
    """What a file says holds, limits included, where no option says otherwise."""
    (cli.folder / "s.toml").write_text(f'store = "{STORE}"\nport = 1\nhost = "::1"\n[limits]\nvalue = 10\n')
    with cli.serving("--config", "s.toml", "--host", "127.0.0.1", "--profile", "p.json") as service:
        assert service.url.startswith("http://127.0.0.1:")
        lines_to_try(service)
        profile = Profile.load(cli.folder / "p.json")
        service.call("create", {}, profile)
        statuses = []
        for size in (10, 11):
            value = ("A" * -(-size * 4 // 3)).ljust(-(-size // 3) * 4, "=") if size % 3 else "A" * (size * 4 // 3)
            command = json.dumps({"type": "Upsert", "key": "aw==", "value": value}).encode()
            head = json.dumps({"logName": "notes"}).encode()
            answer = urllib3.request(
                "POST",
                f"{service.url}/v1/log/update",
                body=head + command,
                headers=urllib3.make_headers(basic_auth=f"me:{profile.apikey.reveal().decode()}"),
                retries=False,
            )
            statuses.append(answer.status)
        assert statuses == [200, 413]


def test_everywhere_is_reached_from_here(cli):
    """A profile for a service that listens on all addresses leads to this machine."""
    with cli.serving("--host", "0.0.0.0", "--allow-plain-http", "--store", STORE, "--profile", "p.json") as service:
        port = service.url.rpartition(":")[2]
        assert service.url == f"http://0.0.0.0:{port}"
        lines_to_try(service)
        assert Profile.load(cli.folder / "p.json").endpoint_url == f"http://127.0.0.1:{port}"


def test_tls(cli, tls):
    """With a certificate and its key it speaks TLS, to whoever trusts who vouches for it, and nothing else."""
    argv = ["--tls-certificate", tls / "chain.pem", "--tls-key", tls / "key.pem", "--profile", "p.json"]
    with cli.serving("--store", STORE, *argv) as service:
        lines_to_try(service)
        assert service.url.startswith("https://")
        assert Profile.load(cli.folder / "p.json").endpoint_url == service.url
        with urllib3.PoolManager(ca_certs=str(tls / "ca.pem")) as pool:
            assert service.get("/readyz", pool) == 200
        profile = attrs.evolve(Profile.load(cli.folder / "p.json"), ca_file=tls / "ca.pem")
        with connect(profile) as client:
            client.log("notes").create()
            assert client.log("notes").version == 0
        with pytest.raises(urllib3.exceptions.HTTPError):
            urllib3.request("GET", service.url + "/readyz", retries=False)
        with pytest.raises(urllib3.exceptions.HTTPError):
            urllib3.request("GET", service.url.replace("https", "http") + "/readyz", retries=False)
        service.ends()


def test_workers(cli):
    """Several processes share one address and one store, and end together."""
    with cli.serving("--workers", 2, "--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
        profile = Profile.load(cli.folder / "p.json")
        assert service.get("/readyz") == 200
        assert service.call("create", {}, profile).status == 200
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        pids = children.read_text().split() if children.exists() else []
        assert len(pids) >= 2
        service.ends()
        deadline = time.monotonic() + PATIENCE
        while [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not [line for line in service.said if "Traceback" in line]


# What goes wrong


def foreign(folder):
    apsw.Connection(str(folder / "foreign.db")).execute("CREATE TABLE t (a)")
    return ["--store", "sqlite:///foreign.db"]


def text(folder):
    (folder / "text.db").write_text("this is no database" * 100)
    return ["--store", "sqlite:///text.db"]


def damaged(folder):
    path = folder / "damaged.db"
    with contextlib.closing(Settings(store=f"sqlite:///{path}").open_store()) as backend:
        Access(backend).open().add_customer("acme")
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    return ["--store", "sqlite:///damaged.db"]


def no_store(folder):
    return ["--store", "sqlite:///none/service.db"]


def no_backend(folder):
    return ["--store", "nonsense://db"]


def config(content):
    def write(folder):
        (folder / "s.toml").write_text(content)
        return ["--config", "s.toml"]

    return write


def option(*argv):
    return lambda _folder: ["--store", STORE, *argv]


WRONG = {
    "another program's store": (foreign, exits.USAGE, "another program's database"),
    "a store that is text": (text, exits.USAGE, "not a database of ours"),
    "a damaged store": (damaged, exits.INTEGRITY, "damaged"),
    "a store in no folder": (no_store, exits.USAGE, "none"),
    "a store of no kind": (no_backend, exits.USAGE, "no backend is installed for nonsense:"),
    "a setting that is none": (config("prot = 1"), exits.USAGE, "s.toml: prot is not a setting"),
    "a limit that is none": (config("[limits]\nbody = 0"), exits.USAGE, "s.toml: limits.body must lie between"),
    "no TOML": (config("{"), exits.USAGE, "s.toml is not TOML"),
    "no such file": (option("--config", "none.toml"), exits.USAGE, "none.toml cannot be read"),
    "a port that is none": (option("--port", "65536"), exits.USAGE, "port must lie between 0 and 65535"),
    "an address that is none": (
        option("--host", "nowhere.invalid", "--allow-plain-http"),
        exits.USAGE,
        "cannot listen",
    ),
    "an open address": (option("--host", "0.0.0.0"), exits.USAGE, "API keys would go over the network in the clear"),
    "an option that is none": (option("--prot", "1"), exits.USAGE, "--prot"),
    "too many words": (option("now"), exits.USAGE, "now"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(cli, refused, what):
    """Whatever keeps it from starting is one line that names it, and the exit code for its kind."""
    make, code, said = WRONG[what]
    assert said in refused(code, *make(cli.folder))


def test_what_is_right_starts(cli):
    """The control: with a store and a file of settings that are good, the same options start."""
    (cli.folder / "s.toml").write_text("[limits]\nbody = 1000\n")
    with cli.serving("--store", STORE, "--config", "s.toml", "--host", "127.0.0.1") as service:
        assert service.get("/readyz") == 200


def test_a_port_that_is_taken(cli, refused):
    """A second service on the same port says so, and makes nothing; the first goes on."""
    with cli.serving("--store", STORE) as service:
        port = service.url.rpartition(":")[2]
        said = refused(exits.USAGE, "--store", "sqlite:///second.db", "--port", port, "--profile", "p.json")
        assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in said
        assert service.get("/readyz") == 200
    assert not (cli.folder / "second.db").exists() and not (cli.folder / "p.json").exists()


def test_a_store_that_is_locked(cli, refused):
    """A store that another program does not let go of is not started on; once it is free, it is."""
    with cli.access() as backend:
        Access(backend).open()
    db = apsw.Connection(str(cli.folder / "service.db"))
    db.execute("BEGIN EXCLUSIVE")
    assert "locked by another writer" in refused(exits.NOT_EXECUTED, "--store", STORE, "--port", 0)
    db.execute("ROLLBACK")
    db.close()
    with cli.serving("--store", STORE) as service:
        assert service.get("/readyz") == 200


def certificates(tls, tmp_path):
    """Options, and what is said of them."""
    (tmp_path / "text.pem").write_text("this is no certificate")
    torn = (tls / "chain.pem").read_text().replace("M", "*", 3)
    (tmp_path / "torn.pem").write_text(torn)
    closed = serialization.load_pem_private_key((tls / "key.pem").read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )
    (tmp_path / "closed.pem").write_bytes(closed)
    chain, key = tls / "chain.pem", tls / "key.pem"
    yield chain, tls / "other.pem", f"the key in {tls}/other.pem is not that of the certificate in {chain}"
    yield tmp_path / "none.pem", key, "none.pem cannot be read (No such file or directory)"
    yield chain, tmp_path / "none.pem", "none.pem cannot be read"
    yield tmp_path, key, "cannot be read (Is a directory)"
    yield tmp_path / "text.pem", key, "text.pem holds no certificate in PEM form"
    yield chain, tmp_path / "text.pem", "text.pem holds no private key in PEM form"
    yield key, chain, "key.pem holds no certificate in PEM form"
    yield tmp_path / "torn.pem", key, "cannot be used"
    yield chain, tmp_path / "closed.pem", "closed.pem asks for a password"


def test_certificates_that_cannot_be_used(cli, refused, tls):
    """A certificate or key that is missing, of the wrong kind, torn, locked or of another pair is named."""
    for certificate, key, said in certificates(tls, cli.folder):
        argv = ["--tls-certificate", certificate, "--tls-key", key, "--store", STORE]
        assert said in refused(exits.USAGE, *argv)
    assert "give tls_certificate and tls_key, or neither" in refused(2, "--tls-key", tls / "key.pem")
    assert not (cli.folder / "service.db").exists()


def test_a_profile_that_others_can_read(cli, refused):
    """A profile that others can read keeps the service from starting; with mode 0600 it starts."""
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
    (cli.folder / "p.json").chmod(0o644)
    assert "chmod 600" in refused(exits.USAGE, "--store", STORE, "--profile", "p.json", "--port", 0)
    (cli.folder / "p.json").chmod(0o600)
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        service.says("Your profile is")


EXTRA = "error: the service is an extra; to get it: pip install 'indelible[server]'\n"
BUG = "error: a bug in indelible (ModuleNotFoundError); INDELIBLE_TRACEBACK=1 shows where\n"


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        *((module, exits.USAGE, EXTRA) for module in ("uvicorn", "starlette", "prometheus_client", "httptools")),
        ("indelible.server.app", exits.FAILED, BUG),
    ],
)
def test_without_the_extra_it_says_what_to_install(refused, monkeypatch, module, code, said):
    """Without one of the service's libraries it prints one line with the remedy; any other lack is a bug."""
    for name in list(sys.modules):
        if name.startswith(("indelible.server", "uvicorn.protocols", f"{module}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert refused(code, "--host", "0.0.0.0") == said


def test_with_the_extra_it_comes_to_the_next_question(refused):
    """The control: with all libraries there, the same command is refused for its open address."""
    assert "in the clear" in refused(exits.USAGE, "--host", "0.0.0.0")


FAILING = """
import sys
from indelible import errors
from indelible.cli import main
from indelible.server.service import Service

async def fail(self):
    raise {error}

Service.open = fail
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("errors.DamagedStore('the store is torn')", exits.INTEGRITY, "error: the store is torn"),
        ("errors.Overloaded('locked')", exits.NOT_EXECUTED, "error: locked"),
        ("ZeroDivisionError()", exits.FAILED, "error: a bug in indelible (ZeroDivisionError)"),
    ],
)
def test_a_start_that_fails_late(cli, error, code, said):
    """What fails when the server is already starting is one line after the others, with its own exit code."""
    ran = cli("serve", "--store", STORE, "--port", 0, code=FAILING.format(error=error))
    assert (ran.code, ran.out) == (code, ""), ran
    assert ran.err.splitlines()[-1].startswith(said) and "Traceback" not in ran.err
    assert [line for line in ran.err.splitlines() if "rror" in line] == ran.err.splitlines()[-1:]


def test_a_worker_that_does_not_start(cli):
    """A worker that fails at its start stops them all: its reason is a line, and no traceback."""
    (cli.folder / "failing.py").write_text(FAILING.format(error="errors.DamagedStore('the store is torn')"))
    command = [sys.executable, "failing.py", "serve", "--store", STORE, "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cli.folder, env=cli.env, timeout=60)
    assert done.returncode == exits.NOT_EXECUTED and "Traceback" not in done.stderr, done
    assert "ERROR indelible.server: the store is torn" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: a worker could not start, for the reason above; all were stopped"


# How it ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_it_well(cli, number, workers):
    """SIGTERM and ctrl-C end it with 0 within five seconds, and whoever waits for news is answered first."""
    with cli.serving("--store", STORE, "--profile", "p.json", "--workers", workers) as service:
        lines_to_try(service)
        profile = Profile.load(cli.folder / "p.json")
        service.call("create", {}, profile)
        answers = []
        poll = {"fromVersion": 0, "waitSeconds": 60}
        waiting = threading.Thread(target=lambda: answers.append(service.call("diff", poll, profile, timeout=60)))
        waiting.start()
        time.sleep(0.5)
        assert waiting.is_alive()
        service.ends(number)
        waiting.join(PATIENCE)
        assert [answer.status for answer in answers] == [200] and answers[0].json()["page"] == []
        assert not [line for line in service.said if "Traceback" in line or "ERROR" in line], service.said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_at_any_time_of_its_start(cli, workers):
    """However early a signal comes, it ends, and prints no traceback."""
    for pause in (0, 0.3, 0.6):
        # A terminal's ctrl-C goes to all processes of the group.
        with cli.serving("--store", STORE, "--workers", workers, start_new_session=True) as service:
            service.says("listens")
            time.sleep(pause)
            os.killpg(service.process.pid, signal.SIGINT)
            assert service.process.wait(PATIENCE) in (exits.OK, exits.INTERRUPTED)
            service._reader.join(PATIENCE)
            assert not [line for line in service.said if "Traceback" in line], service.said


def test_a_second_ctrl_c_ends_it_at_once(cli):
    """Who presses ctrl-C twice does not wait for anybody's body, and sees no traceback."""
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
        for _ in range(2):
            service.process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert service.process.wait(PATIENCE) == exits.OK
        service._reader.join(PATIENCE)
        assert not [line for line in service.said if "Traceback" in line], service.said


def test_what_was_acknowledged_is_there_after_the_end(cli):
    """A log written through the service is in the store when the service has ended."""
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
        service.call("create", {}, Profile.load(cli.folder / "p.json"))
        service.ends()
    with cli.access() as backend:
        assert [info.name for info in backend.logs()] == [LOG_NAME, "me/notes"]


# What it prints


def test_a_line_of_json_a_request(cli):
    """The access log stands on stdout, a JSON object a request, and everything for people on stderr."""
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
        service.call("create", {}, Profile.load(cli.folder / "p.json"))
        [item] = [json.loads(line) for line in service.ends().splitlines()]
    assert (item["call"], item["status"], item["customer"]) == ("create", 200, "me")
    with cli.serving("--store", STORE, "--profile", "p.json", "--no-access-log") as service:
        service.says("Your profile")
        service.call("create", {}, Profile.load(cli.folder / "p.json"))
        assert service.ends() == ""


@pytest.mark.parametrize(("argv", "lines"), [([], 0), (["--access-log"], 1), (["--config", "s.toml"], 1)])
def test_a_terminal_is_for_people(cli, argv, lines):
    """On a terminal there is no access log, unless it is asked for or the settings come from a file."""
    (cli.folder / "s.toml").write_text("")
    leader, follower = pty.openpty()
    with cli.serving("--store", STORE, "--profile", "p.json", *argv, stdout=follower) as service:
        os.close(follower)
        lines_to_try(service)
        service.call("create", {}, Profile.load(cli.folder / "p.json"))
        service.ends()
        printed = b""
        with contextlib.suppress(OSError):
            while piece := os.read(leader, 4096):
                printed += piece
    os.close(leader)
    assert len(printed.splitlines()) == lines


def test_nobody_reads_what_it_prints(cli):
    """It goes on serving when the reader of its access log has gone, and says nothing of it."""
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
        service.process.stdout.close()
        profile = Profile.load(cli.folder / "p.json")
        assert [service.call("create", {}, profile).status for _ in range(3)] == [200] * 3
        service.process.terminate()
        assert service.process.wait(PATIENCE) in (exits.OK, exits.BROKEN_PIPE)
        assert not [line for line in service.said if "Error" in line], service.said


def test_who_is_to_read_what_it_prints_does_not(cli):
    """It goes on serving, and stops when told to, though its access log is taken by nobody and the pipe is full."""
    with cli.serving("--store", STORE, "--profile", "p.json") as service:
        lines_to_try(service)
        profile = Profile.load(cli.folder / "p.json")
        # A pipe holds 64 kB, and a line has more than a hundred.
        assert {service.call("create", {}, profile).status for _ in range(700)} == {200}
        service.process.terminate()
        assert service.process.wait(PATIENCE) == exits.OK
        taken = service.process.stdout.read()
    assert 0 < len(taken.splitlines()) < 700


def test_it_is_a_command_of_its_own_too(cli):
    """The program ``indelible`` starts it as ``python -m indelible`` does, with several processes too."""
    program = Path(sys.executable).parent / "indelible"
    with cli.serving("--store", STORE, "--workers", 2, command=[str(program)]) as service:
        assert service.get("/readyz") == 200
        service.ends()
