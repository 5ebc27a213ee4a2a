"""A stand-in for a ComfyUI server: its HTTP and socket as measured on 0.3.64, with faults on request. It makes real MP4 files.

One queue, one worker. What it says, and when, is in the notes of the project: success is told before the history is written, and
`executing` without a node after it; videos lie under `images`; a deleted prompt leaves no trace.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import comfy_schema as nodes
import numpy as np

from reelwright.media.encode import Encoding, save
from reelwright.types import Frame, Video, VideoSpec

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Item:
    number: int
    id: str
    graph: dict[str, Any]
    client: str
    interrupted: bool = False


@dataclass
class Comfy:
    """The server. What is set beside `models` are its faults."""

    models: dict[str, list[str]] = field(default_factory=lambda: {key: list(each) for key, each in nodes.MODELS.items()})
    without: tuple[str, ...] = ()
    """Classes of nodes that it lacks."""
    steps: int = 4
    step_s: float = 0.01
    race_s: float = 0.0
    """Seconds between the word of success and the history."""
    fail: tuple[str, str] | None = None
    """(type, message) of an error in the sampler."""
    drop_at: int | None = None
    """Step at which the sockets are cut."""
    deaf: bool = False
    """No sockets at all."""
    swallow: bool = False
    """An order is taken, and its caller hears nothing of it."""
    own_ids: bool = False
    as_key: str = "images"
    stills: bool = False
    old_socket: bool = False
    """Pictures without data about them."""
    port: int = 0

    def __post_init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.sampling = threading.Event()
        self.posts: list[dict[str, Any]] = []
        self.ran: list[str] = []
        self.calls: list[tuple[str, str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="comfy-"))
        self.start()

    # ---- its life

    def start(self) -> None:
        """Start, with nothing in the queue nor in the history."""
        self.lock = threading.Condition()
        self.pending: list[Item] = []
        self.running: Item | None = None
        self.history: dict[str, Any] = {}
        self.sockets: dict[str, Any] = {}
        self.ended = False
        self.count = 0
        handler = type("Bound", (_Asked,), {"comfy": self})
        self.http = _Http(("127.0.0.1", self.port), handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=lambda: self.http.serve_forever(0.02), daemon=True).start()
        self.worker = threading.Thread(target=self._work, daemon=True)
        self.worker.start()

    def close(self) -> None:
        """Stop; the queue and the history are lost."""
        self.ended = True
        self.gate.set()
        with self.lock:
            self.lock.notify_all()
        self.http.shutdown()
        self.http.server_close()
        self.cut()
        self.worker.join(5)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut every socket."""
        for each in list(self.sockets.values()):
            with suppress(OSError):
                each.shutdown(2)
        self.sockets.clear()

    def schema(self) -> dict[str, Any]:
        known = nodes.schema(self.models, sorted(self.uploads))
        return {name: each for name, each in known.items() if name not in self.without}

    # ---- what it says

    def say(self, client: str, kind: str, **data: Any) -> None:
        self._frame(client, 1, json.dumps({"type": kind, "data": data}).encode())

    def show(self, item: Item, picture: bytes) -> None:
        if self.old_socket:
            self._frame(item.client, 2, struct.pack(">II", 1, 1) + picture)
            return
        about = json.dumps({"node_id": "x", "prompt_id": item.id, "image_type": "image/jpeg"}).encode()
        self._frame(item.client, 2, struct.pack(">II", 4, len(about)) + about + picture)

    def _frame(self, client: str, kind: int, content: bytes) -> None:
        socket = self.sockets.get(client)
        if socket is None:
            return
        size = len(content)
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size % 65536)
        head = bytes([0x80 | kind]) + (length if size < 65536 else b"\x7f" + struct.pack(">Q", size))
        try:
            socket.sendall(head + content)
        except OSError:
            self.sockets.pop(client, None)

    # ---- its work

    def take(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """POST /prompt."""
        self.posts.append(told)
        if wrong := self._wrong(told["prompt"]):
            return 400, wrong
        with self.lock:
            self.count += 1
            name = str(uuid.uuid4()) if self.own_ids else told.get("prompt_id") or str(uuid.uuid4())
            self.pending.append(Item(self.count, name, told["prompt"], told.get("client_id", "")))
            self.lock.notify_all()
        return 200, {"prompt_id": name, "number": self.count, "node_errors": {}}

    def _wrong(self, graph: dict[str, Any]) -> dict[str, Any] | None:
        known, faults = self.schema(), {}
        for name, node in graph.items():
            kind = node["class_type"]
            if kind not in known:
                said = {"type": "missing_node_type", "message": f"Node '{kind}' not found.", "details": f"Node ID '#{name}'"}
                return {"error": {**said, "extra_info": {"node_id": name, "class_type": kind}}, "node_errors": {}}
            if found := list(self._faults(node, known[kind])):
                faults[name] = {"errors": found, "dependent_outputs": ["save"], "class_type": kind}
        if not any(known[node["class_type"]]["output_node"] for node in graph.values()):
            return {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}, "node_errors": {}}
        error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""}
        return {"error": error, "node_errors": faults} if faults else None

    def _faults(self, node: dict[str, Any], known: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for name, spec in known["input"]["required"].items():
            value = node["inputs"].get(name)
            about = {"extra_info": {"input_name": name, "received_value": value}}
            if name not in node["inputs"]:
                yield {"type": "required_input_missing", "message": "Required input is missing", "details": name, **about}
            elif isinstance(value, list):
                continue
            elif isinstance(spec[0], list) and value not in spec[0]:
                yield {"type": "value_not_in_list", "message": "Value not in list", "details": f"{name}: {value!r}", **about}
            elif spec[0] in ("INT", "FLOAT") and not isinstance(value, int | float):
                yield {"type": "invalid_input_type", "message": f"Failed to convert to {spec[0]}", "details": name, **about}

    def _work(self) -> None:
        lock = self.lock
        while not self.ended:
            with lock:
                while not self.pending and not self.ended:
                    lock.wait(0.2)
                if self.ended:
                    return
                item = self.running = self.pending.pop(0)
            outputs, status = self._executed(item)
            if self.ended:
                return
            time.sleep(self.race_s)
            with lock:
                self.history[item.id] = {"prompt": [item.number, item.id, item.graph], "outputs": outputs, "status": status}
                self.running = None
            self.say(item.client, "executing", node=None, prompt_id=item.id)
            self.say(item.client, "status", status={"exec_info": {"queue_remaining": len(self.pending)}})

    def _executed(self, item: Item) -> tuple[dict[str, Any], dict[str, Any]]:
        self.ran.append(item.id)
        self.say(item.client, "execution_start", prompt_id=item.id)
        loaders = [name for name, node in item.graph.items() if "Loader" in node["class_type"]]
        self.say(item.client, "execution_cached", nodes=loaders, prompt_id=item.id)
        outputs: dict[str, Any] = {}
        for name, node in item.graph.items():
            if name in loaders:
                continue
            self.say(item.client, "executing", node=name, display_node=name, prompt_id=item.id)
            kind = node["class_type"]
            if ("Sampler" in kind and kind != "KSamplerSelect") or kind in ("ImageAddNoise", "ImageUpscaleWithModel"):
                ended = self._sampled(item, name, kind)
                if ended is not None:
                    return {}, ended
            if kind.startswith("Save"):
                outputs[name] = self._saved(item)
                self.say(item.client, "executed", node=name, output=outputs[name], prompt_id=item.id)
        self.say(item.client, "execution_success", prompt_id=item.id)
        return outputs, {"status_str": "success", "completed": True, "messages": [["execution_success", {"prompt_id": item.id}]]}

    def _sampled(self, item: Item, name: str, kind: str) -> dict[str, Any] | None:
        for step in range(1, self.steps + 1):
            time.sleep(self.step_s)
            if step == 2:
                self.sampling.set()
                while not self.gate.wait(0.01) and not item.interrupted and not self.ended:
                    pass
            if item.interrupted:
                told = {"prompt_id": item.id, "node_id": name, "node_type": kind}
                self.say(item.client, "execution_interrupted", **told)
                return {"status_str": "error", "completed": False, "messages": [["execution_interrupted", told]]}
            if self.fail and step == self.steps:
                told = {
                    "prompt_id": item.id, "node_id": name, "node_type": kind, "exception_type": self.fail[0],
                    "exception_message": self.fail[1], "traceback": ['  File "sampling.py", line 7\n', "    raise it\n"],
                }  # fmt: skip
                self.say(item.client, "execution_error", **told)
                return {"status_str": "error", "completed": False, "messages": [["execution_error", told]]}
            self.say(item.client, "progress", value=step, max=self.steps, node=name, prompt_id=item.id)
            state = {name: {"value": step, "max": self.steps, "state": "running"}}
            self.say(item.client, "progress_state", prompt_id=item.id, nodes=state)
            self.show(item, _jpeg(step))
            if step == self.drop_at:
                self.cut()
        return None

    def _saved(self, item: Item) -> dict[str, Any]:
        if self.stills:
            return {"images": [{"filename": f"x_{number}.png", "subfolder": "", "type": "output"} for number in range(3)]}
        name = f"film_{self.count:05}_.mp4"
        draw(item.graph, self.uploads, self.folder / name)
        return {self.as_key: [{"filename": name, "subfolder": "reelwright", "type": "output"}], "animated": [True]}


def draw(graph: dict[str, Any], uploads: dict[str, bytes], path: Path) -> None:
    """An MP4 of the size, length and rate that a graph asks for; its pictures depend on every value of the graph."""
    values = {key: value for node in graph.values() for key, value in node["inputs"].items() if not isinstance(value, list)}
    width, height = int(values.get("width", 128)), int(values.get("height", 72))
    frames = next((int(values[key]) for key in ("length", "video_frames") if key in values), int(values.get("batch_size", 1)))
    kept = {key: value for key, value in values.items() if key != "filename_prefix"}
    seed = hashlib.sha256(json.dumps([kept, [hashlib.sha256(each).hexdigest() for each in uploads.values()]]).encode()).digest()
    numbers = np.random.default_rng(list(seed))
    base, speed = numbers.uniform(60, 190, 3), numbers.uniform(1, 3, 3)
    y, x = np.mgrid[0:height, 0:width]

    def pictures() -> Any:
        for index in range(max(1, frames)):
            wave = 50 * np.sin((x[..., None] * speed + y[..., None]) / 12 + index * speed / 3)
            yield Frame.of(np.clip(base + wave, 0, 255).astype(np.uint8))

    audio = any("audio" in node["inputs"] for node in graph.values() if node["class_type"] == "CreateVideo")
    fps = values.get("fps", 24) if isinstance(values.get("fps", 24), int | float) else 24
    spec = VideoSpec(width, height, Fraction(str(fps)), max(1, frames), audio)
    t = np.arange(spec.samples) / 48_000
    sound = iter([np.repeat(np.sin(t * 2764)[:, None] / 4, 2, axis=1).astype(np.float32)]) if audio else None
    save(Video(spec, pictures(), sound), path, Encoding(crf=12, metadata={"comment": json.dumps(graph)}))


def _jpeg(step: int) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (33, 21), (40 * step % 256, 90, 200)).save(made, "JPEG")
    return made.getvalue()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up are no news."""


class _Asked(BaseHTTPRequestHandler):
    comfy: Comfy
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def _give(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _foreign(self) -> bool:
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            self._give(403, {"error": "forbidden"})
            return True
        return False

    def do_GET(self) -> None:
        comfy, parts = self.comfy, urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        comfy.calls.append(("GET", parts.path, asked))
        if self._foreign():
            return
        if parts.path == "/ws":
            self._socket(asked.get("clientId", ""))
        elif parts.path == "/queue":
            with comfy.lock:
                running = [[each.number, each.id, each.graph, {}, []] for each in [comfy.running] if each]
                pending = [[each.number, each.id, each.graph, {}, []] for each in comfy.pending]
            self._give(200, {"queue_running": running, "queue_pending": pending[::-1]})
        elif parts.path.startswith("/history/"):
            name = parts.path.removeprefix("/history/")
            with comfy.lock:
                self._give(200, {name: comfy.history[name]} if name in comfy.history else {})
        elif parts.path == "/object_info":
            self._give(200, comfy.schema())
        elif parts.path.startswith("/object_info/"):
            name = unquote(parts.path.removeprefix("/object_info/"))
            self._give(200, {name: comfy.schema()[name]} if name in comfy.schema() else {})
        elif parts.path == "/system_stats":
            self._give(200, {"system": {"comfyui_version": "0.3.64"}, "devices": []})
        elif parts.path == "/view" and (file := comfy.folder / Path(asked["filename"]).name).is_file():
            self._give(200, file.read_bytes())
        else:
            self._give(404, {})

    def do_POST(self) -> None:
        comfy, body = self.comfy, self._body()
        if self._foreign():
            return
        if self.path == "/upload/image":
            self._give(200, self._uploaded(body))
            return
        told = json.loads(body)
        comfy.calls.append(("POST", self.path, told))
        if self.path == "/prompt":
            status, content = comfy.take(told)
            if comfy.swallow and status == 200:
                comfy.swallow = False
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self._give(status, content)
        elif self.path == "/queue":
            with comfy.lock:
                comfy.pending = [each for each in comfy.pending if each.id not in told.get("delete", ())]
            self._give(200, {})
        elif self.path == "/interrupt":
            with comfy.lock:
                if comfy.running and told.get("prompt_id") in (None, comfy.running.id):
                    comfy.running.interrupted = True
            self._give(200, {})
        else:
            self._give(404, {})

    def _uploaded(self, body: bytes) -> dict[str, Any]:
        found = re.search(rb'filename="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--', body, re.DOTALL)
        assert found is not None
        name, content = found[1].decode(), found[2]
        if self.comfy.uploads.get(name, content) != content:
            name = f"{Path(name).stem} (1){Path(name).suffix}"
        self.comfy.uploads[name] = content
        return {"name": name, "subfolder": "", "type": "input"}

    def _socket(self, client: str) -> None:
        if self.comfy.deaf:
            self._give(503, {})
            return
        self.send_response(101)
        key = (self.headers["Sec-WebSocket-Key"] + _MAGIC).encode()
        for name, value in (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key).digest()).decode()),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.comfy.sockets[client] = self.connection
        self.comfy.say(client, "status", status={"exec_info": {"queue_remaining": 0}}, sid=client)
        self.close_connection = True
        with suppress(OSError):
            while (head := self.rfile.read(2)) and head[0] & 0x0F != 8:  # short masked frames, until the one that closes
                self.comfy.calls.append(("WS", client, self.rfile.read(4 + (head[1] & 0x7F))))
        if self.comfy.sockets.get(client) is self.connection:
            del self.comfy.sockets[client]
