"""What a server keeps and what goes (J6)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from serving import working

from reelwright.cleaning import Policy, sweep
from reelwright.jobs.ledger import StoredAsset
from reelwright.request import GenerationRequest
from reelwright.settings import load
from reelwright.storyboard import Scene, Storyboard
from reelwright.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))


def asset(shop: Workshop, tmp_path: Path, text: str, *, days: float = 0, owner: str = "ann", **more: object) -> StoredAsset:
    path = tmp_path / "a.bin"
    path.write_bytes(text.encode() * 100)
    blob = shop.blobs.put(path)
    age_all(shop)
    made = StoredAsset(blob.digest, "image/png", blob.size, text, owner, created_at=time.time() - days * 86_400, **more)  # type: ignore[arg-type]  # plain values
    return shop.ledger.add(made)


def age_all(shop: Workshop) -> None:
    """As if all bytes had been written long ago."""
    for blob in shop.blobs.all():
        os.utime(shop.blobs.path(blob.digest), (1, 1))


def names(shop: Workshop) -> set[str]:
    return {each.name for each in shop.ledger.every()}


def test_old_files_go_and_pinned_and_needed_ones_stay(shop: Workshop, tmp_path: Path) -> None:
    old = asset(shop, tmp_path, "old", days=40)
    asset(shop, tmp_path, "new", days=1)
    asset(shop, tmp_path, "pinned", days=40, pinned=True)
    drawn = asset(shop, tmp_path, "drawn", days=40)
    kept = asset(shop, tmp_path, "kept", days=40)
    shop.shelf.add("ann", "Film", {"scenes": [{"image": kept.id}]})
    from reelwright.jobs.rows import NewJob

    shop.store.submit([NewJob("generate", {"request": {"inputs": [{"ref": drawn.id}]}}, owner="ann")])
    would = sweep(shop, Policy(days=30), dry=True)
    assert [(each.what, each.name) for each in would] == [("file", "old"), ("bytes", old.digest[:12])]
    assert names(shop) == {"old", "new", "pinned", "drawn", "kept"}
    assert sweep(shop, Policy(days=30)) == would
    assert names(shop) == {"new", "pinned", "drawn", "kept"}
    assert not shop.blobs.has(old.digest)
    assert sweep(shop, Policy(days=30)) == ()


def test_each_owner_keeps_the_newest_within_counts_and_bytes(shop: Workshop, tmp_path: Path) -> None:
    for number in range(4):
        asset(shop, tmp_path, f"a{number}", owner="ann")
        asset(shop, tmp_path, f"b{number}", owner="bob")
    assert {each.name for each in sweep(shop, Policy(files=3), dry=True) if each.what == "file"} == {"a0", "b0"}
    assert {each.name for each in sweep(shop, Policy(size=450), dry=True) if each.what == "file"} == {"a0", "a1", "b0", "b1"}
    sweep(shop, Policy(files=1, owner="bob"))
    assert names(shop) == {"a0", "a1", "a2", "a3", "b3"}


def test_bytes_go_when_nobody_names_them_any_more_and_not_at_once(shop: Workshop, tmp_path: Path) -> None:
    first, second = asset(shop, tmp_path, "same", owner="ann"), asset(shop, tmp_path, "same", owner="bob")
    assert first.digest == second.digest
    shop.ledger.drop([first.id])
    assert sweep(shop, Policy()) == ()
    shop.ledger.drop([second.id])
    path = tmp_path / "a.bin"
    shop.blobs.put(path)  # named again this moment; its row is still on its way
    assert sweep(shop, Policy()) == ()
    age_all(shop)
    assert [each.what for each in sweep(shop, Policy())] == ["bytes"]


def test_expired_files_and_uploads_that_broke_off_go(shop: Workshop, tmp_path: Path) -> None:
    asset(shop, tmp_path, "short", expires_at=time.time() - 1)
    left = shop.folder / "uploads" / "upload-x"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"x" * 10)
    os.utime(left, (1, 1))
    gone = sweep(shop, Policy())
    assert [(each.what, each.why) for each in gone if each.what != "bytes"] == [
        ("file", "it has expired"), ("upload", "it broke off"),
    ]  # fmt: skip
    assert not left.exists()


def test_films_can_be_fetched_after_cleaning_and_a_film_under_way_keeps_its_scenes(shop: Workshop, tmp_path: Path) -> None:
    with working(shop):
        job = shop.generate(GenerationRequest("A boat", seconds=0.5, width=160, height=90))
        film = shop.film(Storyboard((Scene("A boat", seconds=0.5),), size="160x90"))
        while not all(shop.store.get(each.id).ended for each in (job, film)):
            time.sleep(0.02)
    age_all(shop)
    sweep(shop, Policy.of(shop.settings))
    for each in (job, film):
        made = shop.store.get(each.id).result
        assert made is not None
        assert shop.file(shop.ledger.asset(made["asset"])).stat().st_size == made["bytes"]
