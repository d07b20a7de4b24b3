"""The key file: made once, for its owner, never guessable, never another one for the same cohort folder."""

from __future__ import annotations

import secrets

import pytest

from cohorts.dicom.key import KeyFileError, read_key, weakness_of


def _key_file(path, content, mode=0o600):
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_key_file_is_made_once_for_the_owner_only(tmp_path):
    path = tmp_path / "keys" / "study.key"
    made = read_key(path, tmp_path / "cohort")
    assert path.stat().st_mode & 0o077 == 0
    assert read_key(path, tmp_path / "cohort") == made
    assert read_key(tmp_path / "other.key", tmp_path / "cohort") != made
    assert made.fingerprint == read_key(path, tmp_path / "cohort").fingerprint
    assert made.fingerprint not in path.read_text()


def test_no_key_is_made_for_a_cohort_that_was_filled_with_one(tmp_path):
    with pytest.raises(KeyFileError, match="the one that the cohort folder was filled with, and is not there"):
        read_key(tmp_path / "lost.key", tmp_path / "cohort", may_make=False)
    assert not (tmp_path / "lost.key").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("ab" * 8, "8 bytes, at least 32"),
        ("", "0 bytes, at least 32"),
        ("not hex", "hexadecimal"),
        ("00" * 32, "1 bytes over and over"),
        ("00" * 4096, "1 bytes over and over"),
        ("0123456789abcdef" * 4, "8 bytes over and over"),
        (bytes(range(32)).hex(), "bytes in even steps"),
        (bytes(range(0, 256, 7)).hex(), "bytes in even steps"),
        (b"correct horse battery staple 2024".hex(), "typed text"),
        ("00" * 20 + "0123456789abcdef13579bdf", "13 different bytes"),
    ],
)
def test_a_key_that_is_not_random_is_refused_and_stays(tmp_path, content, word):
    path = _key_file(tmp_path / "study.key", content)
    with pytest.raises(KeyFileError, match=word):
        read_key(path, tmp_path / "cohort")
    assert path.read_text() == content


def test_random_keys_are_never_refused():
    assert {weakness_of(secrets.token_bytes(size)) for size in (32, 33, 48, 64) for _ in range(300)} == {None}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path, mode):
    path = _key_file(tmp_path / "study.key", secrets.token_hex(32), mode)
    with pytest.raises(KeyFileError, match=rf"mode 600\), got mode {mode:o}. Run chmod 600"):
        read_key(path, tmp_path / "cohort")
    path.chmod(0o400)
    read_key(path, tmp_path / "cohort")


def test_a_key_file_inside_the_cohort_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="outside the cohort"):
        read_key(tmp_path / "cohort" / "study.key", tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()
