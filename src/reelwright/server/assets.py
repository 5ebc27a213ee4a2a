"""Files over HTTP: sent in a stream, looked at by someone who may break, fetched in ranges."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from anyio import open_file
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, RedirectResponse
from starlette.datastructures import UploadFile

from reelwright.errors import QuotaExceeded, RequestError, TooLarge, Unsupported
from reelwright.jobs.ledger import StoredAsset
from reelwright.media import apart
from reelwright.media.partial import disk_errors
from reelwright.media.sniff import HEAD, FileKind, sniff
from reelwright.server.auth import Caller, Reader, Shop, Writer
from reelwright.showing import at
from reelwright.workshop import Workshop

ROUTER = APIRouter(prefix="/api/assets", tags=["assets"])

_MIB = 1024**2
_MOST = {"image": 64 * _MIB, "audio": 512 * _MIB, "text": 2 * _MIB}
"""Bytes by kind; a video may have MAX_VIDEO_FILE_SIZE."""
_URL_S = 3600
_WIDTHS = (128, 256, 512, 1024)
"""px of thumbnails; a width in between is rounded up, so that few are made."""

Name = Annotated[str, Query(max_length=255, description="What to call it; only its last part is kept.")]
After = Annotated[str | None, Query(max_length=64, description="The id that the page before ended with.")]


def shown(asset: StoredAsset) -> dict[str, Any]:
    """An asset as JSON."""
    return {
        "id": asset.id, "name": asset.name, "type": asset.kind, "size": asset.size, "sha256": asset.digest, "job": asset.job,
        "created_at": at(asset.created_at), "expires_at": at(asset.expires_at), "pinned": asset.pinned, **asset.facts,
        "url": f"/api/assets/{asset.id}/content",
    }  # fmt: skip


@ROUTER.post("", status_code=201, operation_id="upload_asset", openapi_extra={
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
})  # fmt: skip
async def upload(request: Request, shop: Shop, caller: Writer, name: Name = "") -> dict[str, Any]:
    """Store a file: its bytes as the body, or a form with one `file`. What it is, is seen from its content."""
    folder = shop.folder / "uploads"
    with disk_errors(folder), suppress(FileExistsError):
        await run_in_threadpool(folder.mkdir, 0o700, True)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=folder) as place:
        if request.headers.get("content-type", "").startswith("multipart/"):
            async with request.form(max_files=1, max_fields=4) as form:
                given = next((value for value in form.values() if isinstance(value, UploadFile)), None)
                if given is None:
                    raise RequestError("the form has no file", hint="Send it as `file`.", field="file")
                name = name or given.filename or ""
                path, kind = await received(_pieces(given), Path(place), shop, caller)
        else:
            path, kind = await received(request.stream(), Path(place), shop, caller)
        return shown(await run_in_threadpool(kept, path, kind, shop, caller, name))


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(_MIB):
        yield piece


async def received(pieces: AsyncIterator[bytes], folder: Path, shop: Workshop, caller: Caller) -> tuple[Path, FileKind]:
    """A body written to a file in `folder`; refused as soon as it is known to be too large or of no use."""
    room = await run_in_threadpool(_room, shop, caller)
    part, size, head, kind = folder / "part", 0, b"", None
    with disk_errors(part):
        async with await open_file(part, "wb") as file:
            async for piece in pieces:
                size += len(piece)
                if kind is None:
                    head += piece[:HEAD]
                    kind = sniff(head) if len(head) >= HEAD else None
                most = shop.settings.max_video_file_size if kind is None else _most(kind, shop)
                if size > most:
                    raise TooLarge(f"such a file has at most {most} bytes", hint="Make it smaller.", most=most)
                if room is not None and size > room:
                    raise QuotaExceeded(f"only {room} bytes are left of this key's", hint="Delete some files.", left=room)
                await file.write(piece)
    if size == 0:
        raise Unsupported("the file is empty", hint="Send its bytes as the body.")
    kind = kind or sniff(head)
    path = part.with_name(f"file{kind.ending}")
    part.rename(path)
    return path, kind


def _most(kind: FileKind, shop: Workshop) -> int:
    return min(_MOST.get(kind.group, shop.settings.max_video_file_size), shop.settings.max_video_file_size)


def _room(shop: Workshop, caller: Caller) -> int | None:
    most = caller.limits.get("bytes")
    return None if most is None else max(0, int(most) - shop.ledger.bytes_of(caller.owner))


def kept(path: Path, kind: FileKind, shop: Workshop, caller: Caller, name: str = "") -> StoredAsset:
    """The file as an asset, once it was looked at; raises MediaError, TooLarge, Unsupported."""
    if kind.group == "text":
        try:
            path.read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise Unsupported("the subtitles are not UTF-8 text", hint="Save them as UTF-8.") from None
        facts: dict[str, Any] = {}
    else:
        facts = apart.look(path)
    plain = Path(name.replace("\\", "/")).name.strip("\x00 .")[:200]
    stem = Path(plain).stem or "file"
    return shop.keep(path, caller.owner, name=f"{stem}{kind.ending}", kind=kind.media_type, **facts)


@ROUTER.get("", operation_id="list_assets")
def assets(shop: Shop, caller: Reader, after: After = None, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
    """Files, newest first."""
    found = shop.ledger.assets(caller.sees, after=after, limit=limit + 1)
    return {"assets": [shown(asset) for asset in found[:limit]], "more": len(found) > limit}


@ROUTER.get("/{asset}", operation_id="get_asset")
def show(asset: str, shop: Shop, caller: Reader) -> dict[str, Any]:
    """What a file is."""
    return shown(shop.ledger.asset(asset, caller.sees))


@ROUTER.get("/{asset}/content", operation_id="get_asset_content", response_class=FileResponse)
def content(asset: str, shop: Shop, caller: Reader, request: Request) -> Response:
    """A file's bytes, in ranges if asked for; or the address where they lie."""
    return sent(shop, shop.ledger.asset(asset, caller.sees), request)


def sent(shop: Workshop, asset: StoredAsset, request: Request) -> Response:
    """A file as an answer; nothing but a 304 if the caller has it already, for what an asset holds never changes."""
    tag = f'"{asset.digest}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=31536000, immutable"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    address = shop.blobs.url(asset.digest, _URL_S, asset.kind, asset.name)
    if address is not None:
        return RedirectResponse(address, 307)
    return FileResponse(shop.file(asset), media_type=asset.kind, filename=asset.name, headers=headers)


@ROUTER.get("/{asset}/thumbnail", operation_id="get_asset_thumbnail", response_class=FileResponse)
def thumbnail(
    asset: str, shop: Shop, caller: Reader, width: Annotated[int, Query(ge=16, le=1024, description="px")] = 256
) -> Response:
    """A small JPEG of a picture or a video's first one; made once."""
    found = shop.ledger.asset(asset, caller.sees)
    if not found.kind.startswith(("image/", "video/")):
        raise Unsupported(f"{found.name} has no pictures", asset=asset)
    wide = next(each for each in _WIDTHS if each >= width)
    place = shop.settings.cache_folder / "thumbnails" / f"{found.digest}-{wide}.jpg"
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        apart.thumbnail(shop.file(found), place, wide)
    return FileResponse(place, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=31536000, immutable"})


@ROUTER.post("/{asset}/pin", operation_id="pin_asset")
def pin(asset: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Keep a file from being cleaned away."""
    return _pinned(asset, shop, caller, True)


@ROUTER.post("/{asset}/unpin", operation_id="unpin_asset")
def unpin(asset: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Let a file be cleaned away when its time comes."""
    return _pinned(asset, shop, caller, False)


def _pinned(asset: str, shop: Workshop, caller: Caller, pinned: bool) -> dict[str, Any]:
    found = shop.ledger.asset(asset, caller.sees)
    shop.ledger.pin(found.id, pinned)
    return shown(shop.ledger.asset(asset))


@ROUTER.delete("/{asset}", operation_id="delete_asset")
def delete(asset: str, shop: Shop, caller: Writer) -> dict[str, Any]:
    """Forget a file; its bytes go with the next clean-up."""
    shop.ledger.drop([shop.ledger.asset(asset, caller.sees).id])
    return {"id": asset, "deleted": True}
