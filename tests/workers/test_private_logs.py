"""What a model server writes after it served clients is theirs, whenever its log was read."""

from __future__ import annotations

from pathlib import Path

from workers.pyworker.model.model_log import LogTail


def test_a_log_that_was_never_read_before_clients_were_served_is_private(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    log.write_text("")
    tail = LogTail(log)
    tail.mark_served()  # ready at once: a result was kept, the server was up
    log.write_text("it chokes on 'my diary'\n")
    assert tail.read_lines() == ["it chokes on 'my diary'"]
    assert tail.is_private


def test_a_log_that_is_begun_anew_is_not_private_until_clients_are_served(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    log.write_text("loading\n")
    tail = LogTail(log)
    tail.read_lines()
    tail.mark_served()
    log.write_text("")
    tail.read_lines()
    assert not tail.is_private, "shorter than it was: the same file, begun anew"


def test_a_log_that_is_replaced_is_not_private_once_it_is_read(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    log.write_text("loading\n")
    tail = LogTail(log)
    tail.read_lines()
    tail.mark_read()
    fresh = tmp_path / "fresh.log"
    fresh.write_text("no such model, and a line longer than all before\n")
    fresh.replace(log)
    assert tail.read_lines() == ["no such model, and a line longer than all before"]
    assert not tail.is_private


def test_a_log_that_does_not_exist_yet_begins_after_what_was_served(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "model.log")
    tail.mark_served()
    tail.path.write_text("loading\n")
    tail.read_lines()
    assert not tail.is_private
