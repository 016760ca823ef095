"""The compose file says what the documentation promises; it is read here, not run."""

import re
import shlex

import pytest
import yaml

from mlproject.config import PROJECT_ROOT, load_config
from mlproject.tuning.database import parsed

DEPLOY = PROJECT_ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def resolved(text: str, **environment: str) -> str:
    """`${NAME:-default}` as compose reads it."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1], found[2]), text)


def options(service: str) -> dict[str, str]:
    """The `--name=value` options of a service's command."""
    given = [word for word in SERVICES[service]["command"] if word.startswith("--")]
    return {name: resolved(value) for name, _, value in (word.removeprefix("--").partition("=") for word in given)}


def test_the_services_are_those_of_the_documentation() -> None:
    assert set(SERVICES) == {"database", "tracking", "worker"}
    assert set(COMPOSE["volumes"]) == {"database", "artifacts"}
    for service in SERVICES.values():
        assert {"image", "command", "environment", "restart"} <= set(service)
        named = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert set(named) <= set(COMPOSE["volumes"])


def test_ports_are_open_on_the_loopback_alone_unless_told_otherwise() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"database", "tracking"}
    for (published,) in ports.values():
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", resolved(published))
        assert resolved(published, BIND_ADDRESS="10.0.0.5").startswith("10.0.0.5:")


def test_each_waits_for_the_health_of_what_it_needs() -> None:
    assert SERVICES["tracking"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert SERVICES["worker"]["depends_on"] == {"tracking": {"condition": "service_healthy"}}
    for name in ("database", "tracking"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
        assert {"interval", "timeout", "retries"} <= set(SERVICES[name]["healthcheck"])
    code = SERVICES["tracking"]["healthcheck"]["test"][-1]
    compile(code, "healthcheck", "exec")


def test_no_password_is_written_down_and_every_service_takes_the_same() -> None:
    needed = {"POSTGRES_PASSWORD", "PGPASSWORD"}
    for service in SERVICES.values():
        (password,) = [value for name, value in service["environment"].items() if name in needed]
        assert password.startswith("${POSTGRES_PASSWORD:?"), "compose refuses to start without it"
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", TEXT), "no URL carries one"
    example = (DEPLOY / ".env.example").read_text()
    assert "\nPOSTGRES_PASSWORD=\n" in example
    variables = set(re.findall(r"\$\{(\w+)", TEXT))
    assert variables == set(re.findall(r"^(?:# )?([A-Z_]+)=", example, flags=re.M)), "each is explained there"
    ignored = (PROJECT_ROOT / ".gitignore").read_text().splitlines()
    assert ".env" in ignored


def test_server_and_workers_speak_to_one_database_and_artifacts_go_through_the_server() -> None:
    server, worker = options("tracking"), options("worker")
    place = parsed(server["backend-store-uri"])
    database = SERVICES["database"]["environment"]
    assert (place.host, place.username, place.database) == (
        "database", database["POSTGRES_USER"], database["POSTGRES_DB"],
    )  # fmt: skip
    assert worker["storage"] == server["backend-store-uri"]
    assert "serve-artifacts" in server
    assert f"artifacts:{server['artifacts-destination']}" in SERVICES["tracking"]["volumes"]
    assert SERVICES["worker"]["environment"]["MLFLOW_TRACKING_URI"] == f"http://tracking:{server['port']}"


@pytest.mark.parametrize("host", ["tracking:5000", "localhost:5000", "127.0.0.1:5000"])
def test_the_server_answers_under_the_names_that_are_used(host) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    allowed = options("tracking")["allowed-hosts"].split(",")
    assert is_allowed_host_header(allowed, host)
    assert not is_allowed_host_header(allowed, "evil.example:5000")


def test_the_worker_s_options_are_those_of_the_entry_point() -> None:
    given = options("worker")
    load_config(None, {f"tune.{name}": value for name, value in given.items()})
    assert SERVICES["worker"]["command"][:2] == ["python", "src/tune.py"]
    assert shlex.join(SERVICES["worker"]["command"]).isascii()


def test_the_image_is_built_from_files_that_are_there() -> None:
    for name in ("tracking", "worker"):
        build = SERVICES[name]["build"]
        assert (DEPLOY / build["context"]).resolve() == PROJECT_ROOT
        assert (PROJECT_ROOT / build["dockerfile"]).is_file()
        assert SERVICES[name]["image"] == SERVICES["tracking"]["image"]
    assert "-e '.[postgres]'" in (DEPLOY / "Dockerfile").read_text()
    hidden = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {".venv", "outputs", "data/*", "deploy/.env"} <= set(hidden), "no data and no passwords in the image"
