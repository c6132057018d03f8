"""The journal: whole records or none, whatever the disk and the process do."""

import os
import random

import pytest

from tests.warm.conftest import FailingFiles
from warmstate.errors import CommitError
from warmstate.warm.commits.journal import Journal

BODIES = [bytes([n % 251 + 1]) * (n * 37 % 900 + 1) for n in range(60)]


def bodies(directory):
    journal = Journal(str(directory))
    found = [body for _, body in journal.read()]
    damaged = journal.damaged
    journal.close()
    return found, damaged


def written(directory, records=BODIES):
    journal = Journal(str(directory))
    list(journal.read())
    for body in records:
        journal.append([body[:1], body[1:]] if len(body) > 1 else [body])
    journal.close()


def test_records_come_back_in_order(tmp_path):
    """What was appended is read by the next process, whole and in order."""
    written(tmp_path)

    assert (BODIES, False) == bodies(tmp_path)


def test_appending_goes_on_behind_what_an_earlier_process_left(tmp_path):
    """A second process appends to the first one's records."""
    written(tmp_path, BODIES[:30])
    journal = Journal(str(tmp_path))
    list(journal.read())
    place = journal.append([b"later"])

    assert b"later" == journal.fetch(place, 5)
    assert [*BODIES[:30], b"later"] == bodies(tmp_path)[0]


@pytest.mark.parametrize("size", [1, 100, 5000, 200_000])
def test_every_torn_end_is_dropped(tmp_path, size):
    """A process that dies while it writes leaves pages of its record and zeros; the records before it count."""
    written(tmp_path, BODIES[:5])
    path = tmp_path / "journal"
    end = len(b"warmjnl1") + sum(len(body) + 16 for body in BODIES[:5])
    written_before = path.read_bytes()
    journal = Journal(str(tmp_path))
    list(journal.read())
    journal.append([b"x" * size])
    journal.close()
    whole = path.read_bytes()
    for cut in range(-(-(end + 1) // 4096) * 4096, end + size + 16, 4096):
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))

        assert (BODIES[:5], False) == bodies(tmp_path)
        journal = Journal(str(tmp_path))
        list(journal.read())
        journal.append([b"next"])
        journal.close()
        assert ([*BODIES[:5], b"next"], False) == bodies(tmp_path)
    path.write_bytes(written_before)
    assert (BODIES[:5], False) == bodies(tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_never_taken_for_a_shorter_journal(tmp_path, seed):
    """Flipped, cut, swapped and inserted bytes give every record or word of the damage: 1,000 journals a seed."""
    rng = random.Random(seed)
    written(tmp_path)
    path = tmp_path / "journal"
    good = path.read_bytes()
    end = len(b"warmjnl1") + sum(len(body) + 16 for body in BODIES)
    wrong = 0
    for _ in range(1000):
        bad = bytearray(good)
        kind = rng.randrange(4)
        at = rng.randrange(end)
        if kind == 0:
            bad[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del bad[rng.randrange(len(bad)) :]
        elif kind == 2:
            other = rng.randrange(end)
            bad[at : at + 50], bad[other : other + 50] = bad[other : other + 50], bad[at : at + 50]
        else:
            bad[at:at] = rng.randbytes(rng.randrange(1, 30))
        path.write_bytes(bytes(bad))
        found, damaged = bodies(tmp_path)
        wrong += not (damaged or found == BODIES)

    assert 0 == wrong


@pytest.mark.parametrize("errno", [28, 5, 30])
def test_the_file_port_may_fail_at_any_call(tmp_path, errno):
    """For every n, failing the n-th file call loses nothing acknowledged and keeps nothing refused."""
    for fail_at in range(1, 60):
        directory = tmp_path / f"{errno}-{fail_at}"
        directory.mkdir()
        files = FailingFiles(fail_at, errno)
        journal = Journal(str(directory), files=files)
        list(journal.read())
        acknowledged = []
        for number in range(6):
            body = b"%d" % number * 20_000
            try:
                journal.append([body])
            except CommitError:
                continue
            acknowledged.append(body)
            if number == 3:
                try:
                    journal.rewrite([[b"compact"]])
                except CommitError:
                    continue
                acknowledged = [b"compact"]
        journal.close()

        assert (acknowledged, False) == bodies(directory)
        assert ["journal"] == sorted(entry.name for entry in directory.iterdir())


@pytest.mark.parametrize("call", ["pwritev", "allocate", "open", "stat"])
def test_the_next_commit_works_once_the_disk_does(tmp_path, call):
    """A disk that refuses everything for a while costs those commits and no others."""
    files = FailingFiles(errno=28)
    journal = Journal(str(tmp_path), files=files)
    list(journal.read())
    journal.append([b"a" * 70_000])
    journal.close()
    list(journal.read())
    files.always = (call,)
    for _ in range(3):
        if call == "open":
            journal.close()
            list(Journal(str(tmp_path)).read())
        with pytest.raises(CommitError, match="The last commit stays valid"):
            journal.append([b"b" * 70_000])
    files.always = ()
    if call == "open":
        list(journal.read())
    journal.append([b"c"])

    assert ([b"a" * 70_000, b"c"], False) == bodies(tmp_path)


def test_a_link_or_a_pipe_under_its_name_is_left_alone(tmp_path):
    """What is planted under the journal's name is neither read nor written to, and the victim of a link keeps its bytes."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    plants = {
        "symlink": lambda path: path.symlink_to(victim),
        "link": lambda path: os.link(victim, path),
        "pipe": os.mkfifo,
    }
    for name, plant in plants.items():
        directory = tmp_path / name
        directory.mkdir()
        plant(directory / "journal")

        assert ([], True) == bodies(directory)
        written(directory, [b"mine"])
        assert ([b"mine"], False) == bodies(directory)
        assert b"precious" == victim.read_bytes()


def test_an_emptied_journal_is_damaged(tmp_path):
    """A journal has a record from its first moment on: one that has none any more was emptied, by cutting or by zeros."""
    written(tmp_path)
    path = tmp_path / "journal"
    good = path.read_bytes()
    for left in (b"", bytes(len(good)), good[:8] + bytes(len(good) - 8), good[:8] + bytes(4088)):
        path.write_bytes(left)

        assert ([], True) == bodies(tmp_path)


def test_a_directory_under_its_name_is_said(tmp_path):
    """A directory is no journal and is never removed: commits fail, and say what to do."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "precious").touch()
    journal = Journal(str(tmp_path))

    assert [] == list(journal.read())
    assert journal.damaged
    with pytest.raises(CommitError, match="a directory has that name: remove it"):
        journal.append([b"x"])
    assert ["journal", "precious"] == sorted(path.name for path in tmp_path.rglob("*"))


def test_a_cleared_directory_is_said_and_the_rewrite_heals_it(tmp_path):
    """When user code clears /tmp the commit fails and says so, and a rewrite makes the directory again."""
    directory = tmp_path / "warmstate" / "0"
    directory.mkdir(parents=True)
    journal = Journal(str(directory))
    journal.append([b"a"])
    (directory / "journal").unlink()
    directory.rmdir()
    directory.parent.rmdir()

    with pytest.raises(CommitError, match="cleared or moved"):
        journal.append([b"b"])
    assert journal.lost
    journal.rewrite([[b"a"]])
    journal.append([b"c"])
    assert ([b"a", b"c"], False) == bodies(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_costs_only_the_commits_that_do_not_fit(tmp_path):
    """On 8 MB of tmpfs that others fill up, refused commits leave no trace, and the first one after space returns works."""
    import subprocess

    directory = tmp_path / "small"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)], check=False).returncode:
        pytest.skip("this sandbox may not mount")
    try:
        journal = Journal(str(directory))
        acknowledged = [b"first"]
        journal.append([b"first"])
        (directory / "others").write_bytes(b"")
        with (directory / "others").open("wb", buffering=0) as others, pytest.raises(OSError, match="No space"):  # noqa: PT012 - until the disk is full
            while True:
                others.write(bytes(100_000))
        refused = 0
        for number in range(300):
            body = b"%d" % number * 300
            try:
                journal.append([body])
                acknowledged.append(body)
            except CommitError as error:
                assert "disk is full" in str(error)  # noqa: PT017 - only some of them are refused
                refused += 1
        (directory / "others").unlink()
        journal.append([b"last" * 100])

        assert refused
        assert ([*acknowledged, b"last" * 100], False) == bodies(directory)
    finally:
        journal.close()
        subprocess.run(["umount", str(directory)], check=True)
