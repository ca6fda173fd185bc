"""Trust on first use: what the file of known servers remembers, and what it refuses."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stainedglass_output_protection.client import known_servers, private_files
from stainedglass_output_protection.client.known_servers import KnownServers
from stainedglass_output_protection.client.known_servers_file import normalise_base_url
from stainedglass_output_protection.client.settings import known_servers_path
from stainedglass_output_protection.errors import (
    ConfigurationError,
    IdentityChangedError,
    StatementRolledBackError,
    UsageError,
)
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.statement import Statement, make_statement

URL = "https://llm.example.com"
OTHER_URL = "http://other.example.com"
HOUR = 3600 * 1000
NOW = 1_800_000_000_000
SERVER = IdentityKey(Ed25519PrivateKey.from_private_bytes(b"server" + bytes(26)))
OTHER = IdentityKey(Ed25519PrivateKey.from_private_bytes(b"other" + bytes(27)))


@pytest.fixture(autouse=True)
def _nothing_was_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_servers, "_warned", set())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "known_servers"


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A path below a regular file: root cannot write there either."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "folder" / "known_servers"


def statement(
    identity: IdentityKey = SERVER, epoch: int = NOW, life: int = 2 * HOUR
) -> Statement:
    return make_statement(
        epoch=epoch,
        not_after=epoch + life,
        response_public_key=os.urandom(32),
        identity=identity.public_key,
        sign=identity.sign,
    )


def client(
    path: Path | None, *, pinned: bool = False, now: int = NOW + HOUR
) -> KnownServers:
    return KnownServers(path, pinned=pinned, clock=lambda: now / 1000)


def entries(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line[:1] != "#"]


def line(identity: IdentityKey = SERVER, epoch: int = NOW, url: str = URL) -> str:
    return f"{url} {identity.fingerprint} {epoch}"


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def watch_writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    replace = os.replace

    def record(source: str, target: str) -> None:
        written.append(str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", record)
    return written


def test_a_server_is_remembered_on_first_use(path: Path) -> None:
    client(path).check(URL, statement())
    assert entries(path) == [line()]
    client(path).check(f"{URL}/v1/", statement())
    assert entries(path) == [line()]
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "known_servers",
        "known_servers.lock",
    ]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_the_user_may_read_it(path: Path) -> None:
    mask = os.umask(0)
    try:
        client(path).check(URL, statement())
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_server_that_is_known_takes_no_lock(path: Path) -> None:
    write(path, line())
    client(path).check(URL, statement())
    client(path).check(URL, statement(epoch=NOW - 1))
    assert [p.name for p in path.parent.iterdir()] == ["known_servers"]


def test_another_identity_is_refused_loudly(path: Path) -> None:
    write(path, "# mine", line(url="https://else.example.com"), line())
    with pytest.raises(IdentityChangedError) as caught:
        client(path).check(URL, statement(OTHER))
    message = str(caught.value)
    assert f"Known: {SERVER.fingerprint} (line 3 of {path})" in message
    assert f"Now: {OTHER.fingerprint}" in message
    assert "HAS CHANGED" in message
    assert "SOMEBODY MAY BE IN BETWEEN" in message
    assert OTHER.fingerprint not in path.read_text()


def test_a_client_that_met_one_refuses_another_whatever_the_file_says(
    path: Path,
) -> None:
    known = client(path)
    known.check(URL, statement())
    path.unlink()
    with pytest.raises(IdentityChangedError, match="make a new client"):
        known.check(URL, statement(OTHER))
    assert not path.exists()


def test_the_user_can_put_a_new_identity_in_the_line(path: Path) -> None:
    known = client(path)
    known.check(URL, statement())
    write(path, line(OTHER))
    known.check(URL, statement(OTHER))
    with pytest.raises(IdentityChangedError):
        known.check(URL, statement(epoch=NOW + 1))
    assert entries(path) == [line(OTHER)]


def test_the_user_can_add_a_line_while_two_identities_answer(path: Path) -> None:
    write(path, line(), line(OTHER))
    known = client(path)
    known.check(URL, statement())
    known.check(URL, statement(OTHER))
    with pytest.raises(IdentityChangedError, match=r"\(line 1 .*\(line 2 "):
        known.check(URL, statement(IdentityKey.generate()))


def test_servers_are_apart(path: Path) -> None:
    known = client(path)
    known.check(URL, statement())
    known.check(f"{URL}/tenant/v1", statement(OTHER))
    known.check(f"{URL}:8000", statement(IdentityKey.generate()))
    assert len(entries(path)) == 3


def test_a_rollback_is_noticed_after_a_restart(path: Path) -> None:
    client(path).check(URL, statement())
    overlapping = statement(epoch=NOW - HOUR)
    client(path).check(URL, overlapping)
    assert entries(path) == [line()]
    ended = statement(epoch=NOW - HOUR, life=HOUR)
    with pytest.raises(StatementRolledBackError, match=r"in line 3 of .*known_servers"):
        client(path).check(URL, ended)


def test_a_rollback_is_noticed_within_one_client(path: Path) -> None:
    known = client(path)
    known.check(URL, statement())
    known.check(URL, statement(epoch=NOW - HOUR))
    with pytest.raises(StatementRolledBackError, match="this client"):
        known.check(URL, statement(epoch=NOW - HOUR, life=HOUR))


def test_a_rollback_behind_another_process_is_noticed(path: Path) -> None:
    known = client(path)
    known.check(URL, statement(epoch=NOW - 9 * HOUR))
    client(path).check(URL, statement())
    with pytest.raises(StatementRolledBackError):
        known.check(URL, statement(epoch=NOW - 4 * HOUR))
    assert entries(path) == [line()]


def test_each_new_epoch_is_written_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = watch_writes(monkeypatch)
    known = client(path)
    for epoch in (NOW, NOW, NOW - 1, NOW + 1, NOW + 1, NOW):
        known.check(URL, statement(epoch=epoch))
    client(path).check(URL, statement(epoch=NOW + 1))
    assert written == [str(path)] * 2
    assert entries(path) == [line(epoch=NOW + 1)]


def test_what_has_not_begun_is_not_remembered(path: Path) -> None:
    early = client(path, now=NOW - 1)
    early.check(URL, statement())
    early.check(URL, statement(epoch=NOW + 1))
    assert entries(path) == [line(epoch=0)]
    early.check(URL, statement(epoch=NOW - HOUR))
    assert entries(path) == [line(epoch=NOW - HOUR)]


def test_with_a_pin_it_remembers_epochs_of_every_identity(path: Path) -> None:
    write(path, line())
    known = client(path, pinned=True)
    known.check(URL, statement(OTHER))
    known.check(URL, statement(epoch=NOW + 1))
    assert entries(path) == [line(epoch=NOW + 1), line(OTHER)]
    with pytest.raises(StatementRolledBackError):
        client(path, pinned=True).check(URL, statement(OTHER, NOW - HOUR, HOUR))


def test_comments_order_and_foreign_bytes_stay(path: Path) -> None:
    path.parent.mkdir()
    before = (
        f"# Gr\xfc\xdfe\r\n\n  {line(OTHER, url='http://b')}  # mine\n{line()} #x\n"
    )
    path.write_bytes(before.encode("latin-1"))
    client(path).check("http://b", statement(OTHER, NOW + 5))
    after = (
        f"# Gr\xfc\xdfe\n\n{line(OTHER, NOW + 5, 'http://b')}  # mine\n{line()} #x\n"
    )
    assert path.read_bytes() == after.encode("latin-1")


def test_a_user_may_write_a_base_url_as_it_comes(path: Path) -> None:
    path.parent.mkdir()
    text = f"{line(url='HTTPS://LLM.Example.com:443/v1/')}\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    with pytest.raises(IdentityChangedError, match="line 1 "):
        client(path).check(URL, statement(OTHER))


def test_an_empty_file_knows_nobody(path: Path) -> None:
    write(path, "")
    client(path).check(URL, statement())
    assert entries(path) == [line()]


@pytest.mark.parametrize(
    "wrong",
    [
        OTHER_URL,
        f"{OTHER_URL} {SERVER.fingerprint}",
        f"{line(url=OTHER_URL)} more",
        f"{line(url=OTHER_URL)[:-1]}x",
        f"{OTHER_URL} {SERVER.fingerprint} -1",
        f"{OTHER_URL} {SERVER.fingerprint} ١٢",
        f"{OTHER_URL} {SERVER.fingerprint} {'9' * 21}",
        f"{OTHER_URL} {SERVER.fingerprint[:-1]} 0",
        f"{OTHER_URL} {SERVER.fingerprint},{OTHER.fingerprint} 0",
        f"{OTHER_URL} {SERVER.fingerprint.lower()} 0",
        line(url="llm.example.com"),
        line(url="ftp://llm.example.com"),
        line(url="http://[::1"),
        "\0" * 40,
        "<<<<<<< HEAD",
        line(url="https://LLM.example.com:443/v1"),
    ],
)
@pytest.mark.parametrize("pinned", [False, True])
def test_a_malformed_line_is_refused_by_its_number(
    path: Path, wrong: str, pinned: bool
) -> None:
    write(path, "# one", line(), wrong)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=rf"{path}: line 3 "):
        client(path, pinned=pinned).check(f"{URL}/other", statement(OTHER))
    assert path.read_bytes() == before


def test_a_file_of_another_encoding_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(line().encode("utf-16"))
    with pytest.raises(ConfigurationError, match="line 1 "):
        client(path).check(URL, statement(OTHER))


def make_folder(path: Path) -> None:
    path.mkdir(parents=True)


def make_pipe(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def make_huge(path: Path) -> None:
    write(path, "#" * private_files.MAX_FILE_SIZE)


def make_loop(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path)


UNREADABLE = [make_folder, make_pipe, make_huge, make_loop]


@pytest.mark.skipif(os.name != "posix", reason="pipes and links are POSIX")
@pytest.mark.parametrize("make", UNREADABLE)
def test_an_unreadable_file_is_never_taken_for_an_empty_one(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        client(path).check(URL, statement())
    with pytest.warns(UserWarning, match="older epoch") as caught:
        client(path, pinned=True).check(URL, statement())
    assert "SG_SERVER_IDENTITY" not in str(caught[0].message)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read")
def test_a_forbidden_file_is_never_taken_for_an_empty_one(path: Path) -> None:
    write(path, line())
    path.chmod(0)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        client(path).check(URL, statement(OTHER))


def test_without_a_writable_file_it_says_what_to_pin_once(unwritable: Path) -> None:
    known = client(unwritable)
    with pytest.warns(UserWarning, match="could not be written") as caught:
        known.check(URL, statement())
    message = str(caught[0].message)
    known.check(URL, statement(epoch=NOW + 1))
    client(unwritable).check(URL, statement())
    assert str(unwritable) in message
    assert message.endswith(f"SG_SERVER_IDENTITY={SERVER.fingerprint}")


def test_without_a_writable_file_it_goes_on_with_memory(unwritable: Path) -> None:
    known = client(unwritable)
    with pytest.warns(UserWarning, match="could not be written"):
        known.check(URL, statement())
    with pytest.raises(IdentityChangedError, match="make a new client"):
        known.check(URL, statement(OTHER))
    with pytest.raises(StatementRolledBackError):
        known.check(URL, statement(epoch=NOW - HOUR, life=HOUR))


def test_without_a_path_it_goes_on_with_memory() -> None:
    known = client(None)
    with pytest.warns(UserWarning, match="no home folder") as caught:
        known.check(URL, statement())
    assert "(None)" not in str(caught[0].message)
    with pytest.raises(IdentityChangedError):
        known.check(URL, statement(OTHER))


def test_what_is_remembered_stays_when_the_warning_is_raised(unwritable: Path) -> None:
    known = client(unwritable)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            known.check(URL, statement())
    with pytest.raises(IdentityChangedError):
        known.check(URL, statement(OTHER))


def test_a_file_that_cannot_be_replaced_still_decides(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, line())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    known = client(path)
    known.check(URL, statement())
    with pytest.raises(IdentityChangedError):
        known.check(URL, statement(OTHER))
    with pytest.warns(UserWarning, match="No space left"):
        known.check(URL, statement(epoch=NOW + 1))
    write(path, line(OTHER))
    known.check(URL, statement(OTHER, NOW + 1))
    assert [p.name for p in path.parent.iterdir() if p.name[0] == "."] == []


@pytest.mark.skipif(os.name != "posix", reason="links need a right on Windows")
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_written(
    path: Path, tmp_path: Path, exists: bool
) -> None:
    target = tmp_path / "dotfiles" / "known"
    target.parent.mkdir()
    if exists:
        target.write_text("# here\n")
    path.parent.mkdir()
    path.symlink_to(target)
    client(path).check(URL, statement())
    assert path.is_symlink()
    assert entries(target) == [line()]
    assert target.with_name("known.lock").exists()


def test_a_file_that_would_be_too_large_stays_as_it_is(path: Path) -> None:
    before = "#" * (private_files.MAX_FILE_SIZE - 20)
    write(path, before)
    with pytest.warns(UserWarning, match="larger than 1 MiB"):
        client(path).check(URL, statement())
    assert path.read_text() == before + "\n"


def test_an_epoch_that_another_process_wrote_meanwhile_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = private_files.locked

    def late(name: Path) -> object:
        write(path, line(epoch=NOW + 9))
        return locked(name)

    monkeypatch.setattr(known_servers, "locked", late)
    path.parent.mkdir()
    known = client(path)
    known.check(URL, statement())
    assert entries(path) == [line(epoch=NOW + 9)]
    with pytest.raises(StatementRolledBackError):
        known.check(URL, statement(epoch=NOW - HOUR, life=HOUR + 9))


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


MEET_MANY = """
    import sys
    from pathlib import Path
    from tests.client.test_known_servers import IdentityKey, client, statement

    path, name = Path(sys.argv[1]), sys.argv[2]
    print("ready", flush=True)
    sys.stdin.readline()
    known = client(path)
    for number in range(25):
        known.check(f"http://{name}:{number + 1}", statement())
"""


def test_processes_that_write_at_once_lose_no_line(path: Path) -> None:
    workers = [run(MEET_MANY, path, f"host{number}") for number in range(4)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        _, _ = worker.communicate("go\n", timeout=60)
    assert [worker.returncode for worker in workers] == [0] * 4
    assert len(entries(path)) == 100


def test_of_threads_that_meet_two_servers_one_is_trusted(path: Path) -> None:
    barrier = threading.Barrier(8)

    def meet(number: int) -> str:
        barrier.wait()
        try:
            client(path).check(URL, statement((SERVER, OTHER)[number % 2]))
        except IdentityChangedError:
            return "refused"
        return "trusted"

    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(meet, range(8)))
    assert sorted(met) == ["refused"] * 4 + ["trusted"] * 4
    assert len(entries(path)) == 1


def test_threads_share_one_client(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = watch_writes(monkeypatch)
    known = client(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: known.check(URL, statement()), range(40)))
    assert written == [str(path)]


class SlowMemory(dict[tuple[str, str], int]):
    """Lets other threads run between looking and writing."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        names = list(super().__iter__())
        time.sleep(0.1)
        return iter(names)


def test_threads_that_have_memory_only_trust_one_server() -> None:
    known = client(None)
    known._newest = SlowMemory()
    known_servers._warned.add(None)

    def meet(identity: IdentityKey) -> bool:
        try:
            known.check(URL, statement(identity))
        except IdentityChangedError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(meet, [SERVER, OTHER])) == [False, True]


HOLD = """
    import sys
    from pathlib import Path
    from stainedglass_output_protection.client.private_files import locked

    with locked(Path(sys.argv[1])):
        print("locked", flush=True)
        sys.stdin.readline()
"""


def test_a_lock_that_never_comes_free_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    holder = run(HOLD, path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    monkeypatch.setattr(private_files, "LOCK_TIMEOUT_S", 0.2)
    start = time.monotonic()
    known = client(path)
    with pytest.warns(UserWarning, match="keeps it locked"):
        known.check(URL, statement())
    assert time.monotonic() - start >= 0.2
    assert not path.exists()
    holder.kill()
    holder.communicate()
    known.check(URL, statement(epoch=NOW + 1))
    assert entries(path) == [line(epoch=NOW + 1)]


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps open files")
def test_a_lock_that_is_removed_while_it_is_taken_is_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    name = path.with_name("known_servers.lock")
    lock = private_files._lock
    taken: list[int] = []

    def remove_and_lock(descriptor: int) -> None:
        if not taken:
            name.unlink()
        taken.append(descriptor)
        lock(descriptor)

    monkeypatch.setattr(private_files, "_lock", remove_and_lock)
    with private_files.locked(path):
        assert name.exists()
    assert len(taken) == 2


FORK = """
    import os, signal, sys
    from pathlib import Path
    from stainedglass_output_protection.client.private_files import locked

    path = Path(sys.argv[1])
    with locked(path):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with locked(path):
            print("free")
    finally:
        os.kill(child, signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_was_forked_meanwhile_keeps_no_lock(tmp_path: Path) -> None:
    printed, _ = run(FORK, tmp_path / "known").communicate(timeout=60)
    assert printed == "free\n"


ON_WINDOWS = """
    import builtins, fcntl, os, subprocess, sys, tempfile, types
    from pathlib import Path
    import tests.client.test_known_servers  # everything else is loaded as it is here

    for name in list(sys.modules):
        if name.startswith("stainedglass_output_protection.client"):
            del sys.modules[name]
    locks = []
    fake = types.ModuleType("msvcrt")
    fake.LK_NBLCK, fake.LK_UNLCK = 2, 0
    fake.locking = lambda descriptor, mode, size: locks.append((mode, size))
    sys.modules["msvcrt"], sys.modules["fcntl"] = fake, None
    sys.platform = "win32"
    del os.geteuid, os.fchmod, os.O_NONBLOCK

    from stainedglass_output_protection.client import private_files
    from stainedglass_output_protection.client.known_servers import KnownServers
    from stainedglass_output_protection.client.owner import load_owner
    private_files._IS_WINDOWS = True
    busy, replace = [1, 1], os.replace

    def often_busy(source, target):
        if busy:
            busy.pop()
            raise PermissionError(13, "in use")
        replace(source, target)

    os.replace = often_busy
    folder = Path(sys.argv[1])
    statement = tests.client.test_known_servers.statement()
    KnownServers(folder / "a" / "known").check("http://a", statement)
    load_owner(folder / "owner")
    print(locks)
"""


def test_it_works_without_fcntl_and_while_windows_is_busy(tmp_path: Path) -> None:
    printed, _ = run(ON_WINDOWS, tmp_path).communicate(timeout=60)
    assert printed == "[(2, 1), (0, 1), (2, 1), (0, 1)]\n"
    assert entries(tmp_path / "a" / "known")
    assert (tmp_path / "owner").read_bytes().endswith(b"=\n")


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://LLM.Example.com", "https://llm.example.com"),
        ("HTTPS://llm.example.com:443/", "https://llm.example.com"),
        ("http://llm.example.com:80/v1", "http://llm.example.com"),
        ("http://llm.example.com:443/v1/", "http://llm.example.com:443"),
        ("http://h:8000/v1/chat/completions?a=/v1", "http://h:8000"),
        ("http://h/a/b/", "http://h/a/b"),
        ("http://h//a//v1/v1", "http://h/a"),
        ("http://h/v10/V1", "http://h/v10/V1"),
        ("http://h/A b\x7fü%20#c", "http://h/A%20b%7F%C3%BC%20"),
        ("https://user:word@h/v1", "https://h"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://[2001:DB8:0:0::1]:80", "http://[2001:db8::1]"),
        ("http://[fe80::1%eth0]/v1", "http://[fe80::1%eth0]"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://BÜCHER.example/v1", "https://xn--bcher-kva.example"),
    ],
)
def test_a_base_url_has_one_form(url: str, normal: str) -> None:
    assert normalise_base_url(url) == normal
    assert normalise_base_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "llm.example.com/v1",
        "ftp://h",
        "http://",
        "http:///v1",
        "http://secret@/",
        "http://secret:h:x/",
        "http://secret@h:99999/",
        "http://[::1/",
        "http://[secret]/",
        "http://secret h/",
        "http://ü..secret/",
        "http://h/\udc80secret",
    ],
)
def test_what_is_no_base_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        client(None).check(url, statement())
    assert "secret" not in f"{caught.value!r} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"HOME": "/h"}, "/h/.config"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/x"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "x"}, "/h/.config"),
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x"),
        ("darwin", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/h/Library/Application Support"),
        ("win32", {"USERPROFILE": "/h", "APPDATA": "/a"}, "/a"),
        ("win32", {"USERPROFILE": "/h"}, "/h/AppData/Roaming"),
    ],
)  # fmt: skip
def test_the_default_path(
    platform: str, environment: dict[str, str], folder: str
) -> None:
    expected = Path(folder, "stainedglass-output-protection", "known_servers")
    assert known_servers_path(environment, platform=platform) == expected


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "here"}])
def test_without_a_home_there_is_no_default_path(environment: dict[str, str]) -> None:
    assert known_servers_path(environment, platform="linux") is None
