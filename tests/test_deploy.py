"""The files for operators: the unit, the image and the proxies say what the service needs, and work with it."""

import contextlib
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
import trustme
import urllib3
from serving import serving

from indelible import TooLarge, Upsert, connect
from indelible.cli import exits
from indelible.cli.app import app
from indelible.cli.serve import serve
from indelible.profile import Profile
from indelible.secret import MasterKey
from indelible.server import running
from indelible.server.settings import ServiceLimits, Settings
from indelible.wire import LONGEST_WAIT

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs/how-to/deploy.md").read_text(encoding="utf-8")
PATIENCE = 30


def read(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def parsed(words):
    """The command and the arguments that the command line makes of these words."""
    command, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    return command, bound.arguments


def settings_of(words, config=None):
    """The settings of an ``indelible serve`` with these words."""
    command, arguments = parsed(words)
    assert command is serve
    flags = {name: value for name, value in arguments.items() if name not in ("config", "profile")}
    return Settings.load(config, flags)


# The page


def test_the_page_shows_every_file():
    """The files that the page shows are those that there are."""
    shown = re.findall(r"^```\{literalinclude\} \.\./\.\./deploy/(\S+)$", PAGE, re.M)
    assert sorted(shown) == sorted(path.name for path in DEPLOY.iterdir())


def commands(text):
    """The commands of ours in what a page shows at prompts."""
    for line in re.findall(r"^\$ (.+)$", text.replace("\\\n", " "), re.M):
        words = shlex.split(line)
        for index, word in enumerate(words):
            if Path(word).name == "indelible" and words[index + 1 : index + 2] in (["admin"], ["serve"]):
                yield words[index + 1 :]


def test_commands_that_cannot_run_here_are_right():
    """Every command of ours on the page parses; one with an option that there is not would not."""
    found = list(commands(PAGE))
    assert len(found) == 4
    for words in found:
        parsed(words)
    with pytest.raises(Exception, match="--confg"):
        parsed(["serve", "--confg", "x"])


def test_files_that_the_page_installs_are_there():
    """Commands on the page name files that the repository has."""
    assert {it for it in re.findall(r"\bdeploy/[\w.]+", PAGE)} == {
        f"deploy/{name}" for name in ("service.toml", "indelible.service", "Dockerfile", "nginx.conf", "Caddyfile")
    }


# The unit and its settings


UNIT = [
    (section, *line.split("=", 1))
    for section, body in re.findall(r"^\[(\w+)\]$(.*?)(?=^\[|\Z)", read("indelible.service"), re.M | re.S)
    for line in body.splitlines()
    if line and not line.startswith("#")
]


def unit(name):
    [value] = [value for _, key, value in UNIT if key == name]
    return value


def test_the_unit_starts_the_service_with_its_settings():
    """What the unit starts is a command line that parses, with the settings that the page installs."""
    program, *words = shlex.split(unit("ExecStart"))
    assert program == "/opt/indelible/bin/indelible"
    command, arguments = parsed(words)
    assert (command, arguments) == (serve, {"config": Path("/etc/indelible/service.toml")})
    settings = settings_of(["serve"], DEPLOY / "service.toml")
    assert settings.store == f"sqlite:////var/lib/{unit('StateDirectory')}/indelible.db"
    assert (settings.host, settings.port) == (Settings().host, Settings().port)
    assert settings.limits == ServiceLimits()


def test_the_settings_for_tls_are_settings(tmp_path):
    """What is commented out in the file of settings is right too."""
    text = read("service.toml").replace('host = "127.0.0.1"\n', "")
    (tmp_path / "s.toml").write_text(re.sub(r'^# (?=\w+ = ")', "", text, flags=re.M))
    settings = Settings.load(tmp_path / "s.toml")
    assert settings.host == "0.0.0.0" and settings.tls_key is not None


def test_the_unit_fits_the_service():
    """Exit codes, times and numbers of the unit are those of the service."""
    assert unit("RestartPreventExitStatus").split() == [str(exits.USAGE), str(exits.INTEGRITY)]
    assert int(unit("TimeoutStopSec")) > ServiceLimits().drain_seconds + 5
    assert int(unit("LimitNOFILE")) > 2 * ServiceLimits().connections


def analyze(*words):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60)


def test_systemd_takes_the_unit(tmp_path):
    """systemd has nothing to say about the unit; about one with a word that it does not know, it has."""
    text = read("indelible.service").replace("/opt/indelible/bin/indelible", sys.executable)
    path = tmp_path / "indelible.service"
    path.write_text(text)
    done = analyze("verify", path)
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze cannot look at units here")
    assert (done.returncode, done.stderr) == (0, "")
    path.write_text(text.replace("ProtectHome", "ProtectHouse"))
    assert "ProtectHouse" in analyze("verify", path).stderr


def test_the_unit_is_confined(tmp_path):
    """systemd counts little that the service could do beyond its work: 10 is everything, 2 is little."""
    done = analyze("security", "--offline=true", "--threshold=20", DEPLOY / "indelible.service")
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze does not look at files")
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
    (tmp_path / "open.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert analyze("security", "--offline=true", "--threshold=20", tmp_path / "open.service").returncode == 1


# The image


INSTRUCTIONS = [
    tuple(line.split(None, 1))
    for line in re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.M)).splitlines()
    if line
]
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "ENV", "STOPSIGNAL", "HEALTHCHECK"}


def stages():
    found = []
    for instruction, rest in INSTRUCTIONS:
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, rest))
    return found


def of(stage, name):
    return [rest for instruction, rest in stage if instruction == name]


@pytest.mark.skipif(not (ROOT / "indelible").is_dir(), reason="the image is built from a checkout")
def test_the_image_is_built_in_two_stages():
    """What builds is left behind; both stages have the same Python, which this project runs on."""
    build, last = stages()
    assert {instruction for instruction, _ in INSTRUCTIONS} <= KNOWN | {"ENTRYPOINT", "CMD"}
    assert of(build, "FROM") == [of(last, "FROM")[0] + " AS build"] and re.fullmatch(r"python:3\.\d+-slim", last[0][1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = re.search(r"3\.\d+", last[0][1])[0]
    assert any(classifier.endswith(f":: {version}") for classifier in project["classifiers"])
    [install] = of(build, "RUN")
    assert set(re.search(r"'\.\[([\w,]+)\]'", install)[1].split(",")) <= set(project["optional-dependencies"])
    copied = [word for rest in of(build, "COPY") for word in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {project["readme"], *project["license-files"], "pyproject.toml", "indelible"} == set(copied)
    assert of(last, "COPY") == ["--from=build /opt/indelible /opt/indelible"]


def test_the_image_runs_as_nobody_in_particular():
    """The program runs as a user by number who is not root, set after the last command that root runs."""
    _, last = stages()
    [user] = of(last, "USER")
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)
    names = [instruction for instruction, _ in last]
    assert names.index("USER") > max(index for index, name in enumerate(names) if name in ("RUN", "COPY"))
    assert of(last, "VOLUME") == ["/data"] and "XDG_DATA_HOME=/data" in of(last, "ENV")[0]


def test_the_image_starts_the_service():
    """Entry point and command together are a command line that parses, for a store in the volume, on the port exposed."""
    _, last = stages()
    program, *words = json.loads(of(last, "ENTRYPOINT")[0]) + json.loads(of(last, "CMD")[0])
    settings = settings_of(words)
    assert program == "indelible"
    assert (settings.host, settings.allow_plain_http) == ("0.0.0.0", True)
    assert of(last, "EXPOSE") == [str(settings.port)]
    assert of(last, "STOPSIGNAL") == ["SIGTERM"]


def test_the_image_knows_whether_it_is_well():
    """The check succeeds against a service that is ready, and fails where there is none."""
    _, last = stages()
    options, _, command = of(last, "HEALTHCHECK")[0].partition("CMD ")
    assert set(re.findall(r"--([\w-]+)=", options)) == {"interval", "timeout", "start-period"}
    program, *words = json.loads(command)
    assert program == "python" and f":{Settings().port}/" in words[1]

    def check(url):
        code = words[1].replace(f"http://127.0.0.1:{Settings().port}", url)
        return subprocess.run([sys.executable, words[0], code], capture_output=True, timeout=60).returncode

    with serving() as service:
        assert check(service.url) == 0
        service.app.service.draining = True
        assert check(service.url) == 1
    assert check(service.url) == 1


# The proxies


def test_the_proxies_fit_the_service():
    """Times of the proxies are on the right side of those of the service."""
    for name in ("nginx.conf", "Caddyfile"):
        text = read(name)
        wait = int(re.search(r"(?:proxy_read_timeout|response_header_timeout) (\d+)s", text)[1])
        idle = int(re.search(r"(?:keepalive_timeout|keepalive) (\d+)s", text)[1])
        assert wait > LONGEST_WAIT and idle < running._KEEP_ALIVE_SECONDS, name
        assert f"127.0.0.1:{Settings().port}" in text and "/v1/" in text, name


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def nginx_of(folder, service, port, certificate):
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    text = read("nginx.conf").replace("127.0.0.1:8420", service).replace("listen 443", f"listen 127.0.0.1:{port}")
    text = re.sub(r"/etc/letsencrypt\S+/fullchain\.pem", str(certificate[0]), text)
    text = re.sub(r"/etc/letsencrypt\S+/privkey\.pem", str(certificate[1]), text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "whole.conf"
    path.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}\n{text}\n}}\n"
    )
    checked = subprocess.run([program, "-t", "-p", folder, "-c", path], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0 and "warn" not in checked.stderr, checked.stderr
    return [program, "-p", str(folder), "-c", str(path)]


def caddy_of(folder, service, port, certificate):
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed")
    text = read("Caddyfile").replace("127.0.0.1:8420", service)
    site = f"https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate[0]} {certificate[1]}\n"
    path = folder / "Caddyfile"
    path.write_text(
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n"
        + text.replace("logs.example.org {\n", site)
    )
    words = [program, "{}", "--config", str(path), "--adapter", "caddyfile"]
    checked = subprocess.run([program, "validate", *words[2:]], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    return [program, "run", *words[2:]]


@pytest.fixture(params=[nginx_of, caddy_of], ids=["nginx", "caddy"])
def proxied(request, tmp_path):
    """A service behind a proxy, with two clients' credentials: the URL outside, and what trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate = tmp_path / "chain.pem", tmp_path / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate[0], append=True)
    issued.private_key_pem.write_to_path(certificate[1])
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    port = free_port()
    with serving(limits={"polls_per_tenant": 1}) as service:
        words = request.param(tmp_path, service.url.removeprefix("http://"), port, certificate)
        with (tmp_path / "proxy.txt").open("wb") as output:
            proxy = subprocess.Popen(words, stdout=output, stderr=output, env={"HOME": str(tmp_path), "PATH": "/bin"})
        try:
            with urllib3.PoolManager(ca_certs=str(tmp_path / "ca.pem"), retries=False) as pool:
                it = Proxied(service, f"https://localhost:{port}", pool, tmp_path / "ca.pem")
                it.wait(proxy)
                yield it
        finally:
            proxy.terminate()
            try:
                proxy.wait(PATIENCE)
            finally:
                proxy.kill()


class Proxied:
    def __init__(self, service, url, pool, ca_file):
        self.service, self.url, self.pool, self.ca_file = service, url, pool, ca_file
        self.who = service.credentials()

    def wait(self, proxy):
        deadline = time.monotonic() + PATIENCE
        while True:
            assert proxy.poll() is None and time.monotonic() < deadline, "the proxy does not start"
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if self.pool.request("GET", f"{self.url}/v1/").status != 503:
                    return
            time.sleep(0.05)

    def call(self, name, body, **headers):
        basic = urllib3.make_headers(basic_auth=f"{self.who.customer_id}:{self.who.apikey.reveal().decode()}")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.pool.request(
            "POST", f"{self.url}/v1/log/{name}", body=data, headers=basic | headers, timeout=PATIENCE
        )

    def client(self):
        """A client of ours, outside."""
        profile = Profile(
            endpoint_url=self.url,
            customer_id=self.who.customer_id,
            apikey=self.who.apikey,
            master_key=MasterKey.generate(),
            ca_file=self.ca_file,
        )
        return connect(profile)


def test_a_proxy_changes_nothing(proxied):
    """Behind a proxy a client writes, reads and is woken, and what operators ask is not to be seen."""
    with proxied.client() as client:
        log = client.log("orders")
        log.create()
        assert log.update([Upsert("a", "x" * 500_000)]).version == 1
        seen = []
        waiting = threading.Thread(target=lambda: seen.append(log.diff(1, wait_seconds=20).to_version))
        waiting.start()
        deadline = time.monotonic() + PATIENCE
        while not len(proxied.service.app.service.polls) and time.monotonic() < deadline:
            time.sleep(0.01)
        log.update([Upsert("b", 2)])
        waiting.join(PATIENCE)
        assert seen == [2] and dict(log.snapshot()) == {"a": "x" * 500_000, "b": 2}
    for path in ("/metrics", "/healthz", "/readyz", "/", "/v2/log/list"):
        assert proxied.pool.request("GET", proxied.url + path).status == 404
    assert urllib3.request("GET", f"{proxied.service.url}/metrics").status == 200


def test_what_is_too_large_is_heard_through_a_proxy(proxied):
    """A transaction that fills the largest body passes; one that is a little or far too large is ``TooLarge``."""
    with proxied.client() as client:
        log = client.log("orders")
        log.create()
        most = ServiceLimits().body

        def send(size):
            # A value in Base64, sealed and padded, is a third longer and a little more.
            part = 900_000
            return log.update([Upsert(str(at), "x" * part) for at in range(int(size / part / 1.37))])

        assert send(most * 0.95).version == 1
        for size in (most * 1.05, most * 2):
            with pytest.raises(TooLarge, match="the body limit is 16777216 bytes"):
                send(size)
        assert log.version == 1


def test_a_proxy_passes_what_the_service_says(proxied):
    """Headers and errors come through: the version of a log, when to come back, the request's id, who is unknown."""
    proxied.call("create", {"logName": "a"})
    answer = proxied.call("describe", {"logName": "a"}, **{"X-Request-Id": "mine"})
    assert (answer.status, answer.headers["Indelible-Version"]) == (200, "0")
    assert re.fullmatch(r"mine|[0-9a-f]{32}", answer.headers["X-Request-Id"])
    poll = {"logName": "a", "waitSeconds": 5}
    waiting = threading.Thread(target=lambda: proxied.call("diff", poll))
    waiting.start()
    deadline = time.monotonic() + PATIENCE
    while not len(proxied.service.app.service.polls) and time.monotonic() < deadline:
        time.sleep(0.01)
    answer = proxied.call("diff", poll)
    assert (answer.status, answer.headers["Retry-After"], answer.json()["code"]) == (503, "1", "OVERLOADED")
    waiting.join(PATIENCE)
    assert proxied.call("describe", {"logName": "a"}, authorization="Basic bm86bm8=").status == 401
