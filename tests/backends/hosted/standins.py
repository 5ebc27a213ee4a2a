"""Every provider as a server on loopback, speaking its protocol as notes and documents have it. None was recorded live."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any

from reelwright.standin import Received, Said, StandIn

SAFETY = "blocked by the safety policy"
MEMORY = "CUDA out of memory"


class FalStandIn(StandIn):
    """queue.fal.run: everything ends COMPLETED."""

    def answer(self, call: Received) -> Any:
        found = re.fullmatch(r"/(?P<app>[\w.-]+/[\w.-]+)/requests/(?P<id>[\w-]+)(?P<what>/status|/cancel)?", call.path)
        if found is None:
            name = self.ordered(call)
            app = "/".join(call.path.split("/")[1:3])
            return {
                "request_id": name,
                "status": "IN_QUEUE",
                "status_url": f"{self.elsewhere}/{app}/requests/{name}/status",
                "response_url": f"{self.elsewhere}/{app}/requests/{name}",
            }
        name, what = found["id"], found["what"]
        if what == "/cancel":
            self.stopped(name)
            return Said(202, {"status": "CANCELLATION_REQUESTED"})
        if what is None:
            return {"video": {"url": self.url, "content_type": "video/mp4"}, "seed": 7}
        state = self.state(name)
        common = {"request_id": name, "response_url": f"{self.elsewhere}/{name}", "logs": []}
        if state == "queued":
            return {**common, "status": "IN_QUEUE", "queue_position": 2}
        if state == "running":
            return {**common, "status": "IN_PROGRESS", "logs": [{"message": "step 3/10: 30%|###", "level": "INFO"}]}
        wrong = {
            "failed": {"error": f"{MEMORY} {self.key}", "error_type": "runtime_error"},
            "refused": {"error": SAFETY, "error_type": "content_policy_violation"},
            "stopped": {"error": "cancelled", "error_type": "request_cancelled"},
        }
        return {**common, "status": "DREAMING" if state == "strange" else "COMPLETED", **wrong.get(state, {})}


class HuggingFaceStandIn(FalStandIn):
    """The router: the same queue behind it, if the address asks for it."""

    def answer(self, call: Received) -> Any:
        if call.query.get("_subdomain") != "queue":
            return Said(404, {"error": "not the queue"})
        return super().answer(call)


class ReplicateStandIn(StandIn):
    """api.replicate.com: states beside `urls` of its own."""

    WORDS = {"queued": "starting", "running": "processing", "done": "succeeded", "failed": "failed", "refused": "failed",
             "stopped": "canceled", "strange": "dreaming"}  # fmt: skip

    def answer(self, call: Received) -> Any:
        if call.path == "/v1/files":
            return Said(201, {"id": "file-1", "urls": {"get": f"{self.address}/v1/files/file-1"}})
        if call.method == "POST" and call.path.endswith("/predictions"):
            return Said(201, self._prediction(self.ordered(call), "starting"))
        name = call.path.split("/")[3]
        if call.path.endswith("/cancel"):
            self.stopped(name)
            return self._prediction(name, "canceled")
        state = self.state(name)
        told = self._prediction(name, self.WORDS[state])
        told["logs"] = "" if state == "queued" else "10%|#   |\n 40%|####  |"
        if state == "done":
            told["output"], told["metrics"] = [self.url], {"predict_time": 12.5}
        elif state in ("failed", "refused"):
            told["error"] = f"{MEMORY} {self.key}" if state == "failed" else SAFETY
        return told

    def _prediction(self, name: str, status: str) -> dict[str, Any]:
        urls = {"get": f"{self.elsewhere}/v1/predictions/{name}", "cancel": f"{self.elsewhere}/v1/predictions/{name}/cancel"}
        return {"id": name, "status": status, "output": None, "error": None, "logs": "", "urls": urls}


class RunwayStandIn(StandIn):
    """api.dev.runwayml.com: tasks, with what they cost."""

    def answer(self, call: Received) -> Any:
        if call.headers.get("x-runway-version") is None:
            return Said(400, {"error": "X-Runway-Version is missing"})
        if call.method == "POST":
            return {"id": self.ordered(call), "estimatedCost": {"credits": 25}}
        name = call.path.split("/")[-1]
        if call.method == "DELETE":
            self.stopped(name)
            return Said(204, b"")
        state = self.state(name)
        return {
            "id": name,
            **{
                "queued": {"status": "THROTTLED"},
                "running": {"status": "RUNNING", "progress": 0.4},
                "done": {"status": "SUCCEEDED", "output": [self.url], "cost": {"credits": 30}},
                "failed": {"status": "FAILED", "failure": f"{MEMORY} {self.key}", "failureCode": "INTERNAL.BAD_OUTPUT.CODE01"},
                "refused": {"status": "FAILED", "failure": "no", "failureCode": "SAFETY.INPUT.TEXT"},
                "stopped": {"status": "CANCELLED"},
                "strange": {"status": "DREAMING"},
            }[state],
        }


class OpenAIStandIn(StandIn):
    """`/v1/videos` and `/v1/images/generations`; `heeds`: whether it knows idempotency keys."""

    heeds = True
    WORDS = {"queued": "queued", "running": "in_progress", "done": "completed", "failed": "failed", "refused": "failed",
             "stopped": "cancelled", "strange": "dreaming"}  # fmt: skip

    def answer(self, call: Received) -> Any:
        if call.path == "/v1/images/generations":
            self.ordered(call)
            return {"data": [{"b64_json": base64.b64encode(self.made).decode()}], "usage": {"output_tokens": 100}}
        if call.method == "POST":
            once = call.headers.get("idempotency-key") if self.heeds else None
            return {"id": self.ordered(call, once), "status": "queued", "url": f"{self.elsewhere}/v1/videos/x"}
        name = call.path.split("/")[3]
        if call.method == "DELETE":
            self.stopped(name)
            return {"id": name, "deleted": True}
        if call.path.endswith("/content"):
            return Said(302, b"", {"Location": self.url}) if self.moved else Said(200, self.made, {"Content-Type": self.kind})
        state = self.state(name)
        error = {"failed": {"code": "internal", "message": f"{MEMORY} {self.key}"}, "refused": {"code": "moderation_blocked"}}
        return {"id": name, "status": self.WORDS[state], "progress": 40 if state == "running" else 0, "error": error.get(state)}


class GoogleStandIn(StandIn):
    """The Gemini API's interactions; the file lies with Google itself and wants the key."""

    WORDS = {"queued": "queued", "running": "in_progress", "done": "completed", "failed": "failed", "refused": "failed",
             "stopped": "cancelled", "strange": "dreaming"}  # fmt: skip

    def authorised(self, call: Received) -> bool:
        return call.headers.get("x-goog-api-key") == self.key and "key" not in call.query

    def answer(self, call: Received) -> Any:
        if call.path == "/v1beta/interactions":
            assert call.json["background"] is True
            return {"id": self.ordered(call), "status": "queued"}
        if call.path.startswith("/v1beta/files/"):
            return Said(302, b"", {"Location": self.url}) if self.moved else Said(200, self.made, {"Content-Type": self.kind})
        name = call.path.split("/")[3]
        if call.path.endswith("/cancel"):
            self.stopped(name)
            return {"id": name, "status": "cancelled"}
        state = self.state(name)
        told: dict[str, Any] = {"id": name, "status": self.WORDS[state]}
        if state == "done":
            part = {"type": "video", "mime_type": "video/mp4", "uri": f"{self.address}/v1beta/files/made:download?alt=media"}
            told["steps"] = [{"type": "thought"}, {"type": "model_output", "content": [part]}]
        elif state in ("failed", "refused"):
            told["error"] = {"code": 13, "message": f"{MEMORY} {self.key}" if state == "failed" else SAFETY}
        return told


class LumaStandIn(StandIn):
    """api.lumalabs.ai: generations."""

    WORDS = {"queued": "queued", "running": "dreaming", "done": "completed", "failed": "failed", "refused": "failed",
             "stopped": "failed", "strange": "musing"}  # fmt: skip

    def answer(self, call: Received) -> Any:
        if call.method == "POST":
            return Said(201, {"id": self.ordered(call), "state": "queued"})
        name = call.path.split("/")[-1]
        if call.method == "DELETE":
            self.stopped(name)
            return Said(204, b"")
        state = self.state(name)
        reason = {"failed": f"{MEMORY} {self.key}", "refused": "frame 0 moderation failed"}.get(state)
        assets = {"video": self.url} if state == "done" else None
        return {"id": name, "state": self.WORDS[state], "failure_reason": reason, "assets": assets}


class KlingStandIn(StandIn):
    """api.klingai.com: a signed token, and a code in every body."""

    WORDS = {"queued": "submitted", "running": "processing", "done": "succeed", "failed": "failed", "refused": "failed",
             "stopped": "failed", "strange": "dreaming"}  # fmt: skip

    def authorised(self, call: Received) -> bool:
        head, claims, mark = call.headers.get("authorization", "").removeprefix("Bearer ").split(".")
        wanted = hmac.new(self.key.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
        told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return told["iss"] == self.key and base64.urlsafe_b64encode(wanted).decode().rstrip("=") == mark

    def answer(self, call: Received) -> Any:
        if call.method == "POST":
            return {"code": 0, "message": "SUCCEED", "data": {"task_id": self.ordered(call), "task_status": "submitted"}}
        state = self.state(call.path.split("/")[-1])
        data: dict[str, Any] = {"task_status": self.WORDS[state]}
        if state == "done":
            data["task_result"] = {"videos": [{"id": "v", "url": self.url, "duration": "5"}]}
        elif state in ("failed", "refused"):
            data["task_status_msg"] = f"{MEMORY} {self.key}" if state == "failed" else "the content violates the rules: sensitive"
        return {"code": 0, "message": "SUCCEED", "data": data}


class MiniMaxStandIn(StandIn):
    """api.minimax.io, version 2."""

    WORDS = {"queued": "queued", "running": "running", "done": "succeeded", "failed": "failed", "refused": "failed",
             "stopped": "cancelled", "strange": "dreaming"}  # fmt: skip

    def answer(self, call: Received) -> Any:
        if call.method == "POST":
            return {"task_id": self.ordered(call), "base_resp": {"status_code": 0, "status_msg": "success"}}
        state = self.state(call.path.split("/")[-1])
        told: dict[str, Any] = {"task_id": "x", "status": self.WORDS[state]}
        if state == "done":
            told["content"] = {"url": self.url, "duration": 5}
        elif state in ("failed", "refused"):
            told["error"] = {"code": "1027", "message": f"{MEMORY} {self.key}" if state == "failed" else "sensitive content"}
        return told


class EndpointStandIn(StandIn):
    """An inference endpoint: one call, and the video comes back."""

    def answer(self, call: Received) -> Any:
        self.ordered(call)
        return Said(200, self.made, {"Content-Type": self.kind})
