"""A Space's API bound to a shot: which endpoint, which of its parameters is what, and whether that still holds (M9).

What is not bound keeps the Space's own default. A binding comes from the card (`settings.endpoint`, `settings.bind`), from the
cache, where the first look at a Space leaves it, or from names and labels. It is held against the Space each time: what is bound
has to be as it was; other changes are told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelwright.backends.hosted.arguments import filled
from reelwright.catalog.shot import fingerprint
from reelwright.errors import RequestError, Unavailable, Unsupported
from reelwright.media.partial import whole

FILES = ("Image", "Video", "Audio", "File")
"""Components that take a file, and take none too."""
STILL = frozenset({"static", "none", "fixed", "off", "no_motion", "no_camera_motion"})
"""Their words for a camera that does not move."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an endpoint. `choices`: all that it takes, if they are listed; `least`, `most`: its slider's ends."""

    name: str
    label: str
    component: str
    kind: str
    required: bool
    default: Any = None
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    wrapped: bool = False
    """Whether a clip is given as a table with `video` in it, as Gradio had it up to 5."""

    @property
    def facts(self) -> list[Any]:
        """What a bound parameter must keep."""
        return [self.name, self.component.lower(), self.kind, list(self.choices), self.required]


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: its parameters in order, and the components that it returns."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: tuple[str, ...]

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of this name."""
        return next((each for each in self.parameters if each.name == name), None)

    @property
    def schema(self) -> str:
        """A hash of everything that it says of itself."""
        return fingerprint([self.name, [[*each.facts, each.default] for each in self.parameters], list(self.returns)])

    def bound(self, bind: Mapping[str, Any]) -> str:
        """A hash of its name and of those parameters that are bound."""
        kept = [each.facts for each in self.parameters if each.name in bind]
        return fingerprint([self.name, sorted(kept, key=lambda facts: str(facts[0]))])


@dataclass(frozen=True)
class Binding:
    """An endpoint, and a template for each parameter that is bound."""

    endpoint: Endpoint
    bind: Mapping[str, Any] = field(default_factory=dict)


def endpoints(info: Mapping[str, Any]) -> dict[str, Endpoint]:
    """The named endpoints in what `view_api` gives."""
    found = {}
    for name, told in (info.get("named_endpoints") or {}).items():
        parameters = tuple(_parameter(each) for each in told.get("parameters") or ())
        returns = tuple(str(each.get("component", "")) for each in told.get("returns") or ())
        found[name] = Endpoint(name, parameters, returns)
    return found


def _parameter(told: Mapping[str, Any]) -> Parameter:
    schema = told.get("type") if isinstance(told.get("type"), Mapping) else {}
    assert isinstance(schema, Mapping)
    kind = schema.get("type")
    ends = re.search(r"between (-?\d{1,15}(?:\.\d{1,15})?) and (-?\d{1,15}(?:\.\d{1,15})?)", str(schema.get("description", "")))
    return Parameter(
        name=str(told.get("parameter_name") or told.get("label") or ""),
        label=str(told.get("label") or ""),
        component=str(told.get("component") or ""),
        kind=kind if isinstance(kind, str) else "any",
        required=not told.get("parameter_has_default", False),
        default=told.get("parameter_default"),
        choices=tuple(schema.get("enum") or ()),
        least=float(ends[1]) if ends else None,
        most=float(ends[2]) if ends else None,
        wrapped="video" in (schema.get("properties") or {}),
    )


# ---- what a parameter is, by its name, then by its label


def _is(*components: str) -> Callable[[Parameter], bool]:
    return lambda parameter: parameter.component in components


def _text(parameter: Parameter) -> bool:
    return parameter.kind == "string" and not parameter.choices


def _number(parameter: Parameter) -> bool:
    return parameter.kind in ("number", "integer") and not parameter.choices


def _choice(parameter: Parameter) -> bool:
    return bool(parameter.choices)


_MEANINGS: tuple[tuple[str, str, Callable[[Parameter], bool]], ...] = (
    ("{negative}", r"(negative|neg)(_prompt)?|n_prompt", _text),
    ("{prompt}", r"((text|positive|video|user|input)_)?(prompt|caption|description)(_text)?|text", _text),
    ("{last_frame}", r".*(last|end|tail|final).*", _is("Image")),
    ("{first_frame}", r".*(image|img|picture|photo|frame|first|start).*", _is("Image")),
    ("{source}", r".*video.*", _is("Video")),
    ("{width}", r"(video_|output_)?width", _number),
    ("{height}", r"(video_|output_)?height", _number),
    ("{frames}", r"((num|number_of|n|video|total)_)?frames|(video_)?length", _number),
    ("{seconds}", r"(video_)?duration(_(in_)?(s|sec|secs|seconds))?|(num_|video_)?seconds|length_seconds", _number),
    ("{fps}", r"((output|video|target)_)?(fps|frame_rate)|frames_per_second", _number),
    ("{steps}", r"((num|number_of|n|sampling|inference|denoising)_)*(steps?|sampling)", _number),
    ("{guidance}", r"(guidance|cfg)(_scale)?|(text_)?cfg", _number),
    ("{seed}", r"(random_)?seed|noise_seed", _number),
    ("{camera}", r".*(camera|motion).*", _choice),
)
"""What a parameter may be: the template, the names that say so, and whether it could be. The first that fits is it."""


def plain(text: str) -> str:
    """A name or label as lower-case words with low lines between, without those that only say that it is an input."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())
    return "_".join(word for word in words if word not in ("ui", "value", "slider", "box", "the"))


def guessed(endpoint: Endpoint) -> dict[str, Any]:
    """A template for each parameter whose name, or else label, says what it is."""
    bind: dict[str, Any] = {}
    for field_name in ("name", "label"):
        for each in endpoint.parameters:
            if each.name in bind:
                continue
            words = plain(getattr(each, field_name))
            if each.kind == "boolean":
                if "random" in words:  # a seed is always given
                    bind[each.name] = False
                continue
            for template, pattern, fits in _MEANINGS:
                if template not in bind.values() and re.fullmatch(pattern, words) and fits(each):
                    bind[each.name] = template
                    break
    return bind


# ---- which endpoint


def key_of(roles: frozenset[Any]) -> str:
    """How a set of inputs is named in a card: "prompt", "first_frame", "first_frame+last_frame"."""
    return "+".join(sorted(roles)) or "prompt"


def best(found: Mapping[str, Endpoint], roles: frozenset[Any]) -> Endpoint | None:
    """The endpoint that looks most like one that makes a clip of these inputs; None if there is none."""
    wanted = {f"{{{role}}}" for role in roles}
    scored = []
    for endpoint in found.values():
        templates = set(guessed(endpoint).values())
        films = any(each == "Video" for each in endpoint.returns)
        if not wanted <= templates or not (films or "File" in endpoint.returns or "Gallery" in endpoint.returns):
            continue
        if "{first_frame}" not in wanted and _needs_picture(endpoint):
            continue
        score = 5 * films + 3 * bool(re.search(r"generat|to_video|2v(id|$)|2video|animate|infer", endpoint.name))
        score += 3 * ("{prompt}" in templates) + 2 * (bool(wanted) == ("{first_frame}" in templates))
        scored.append((score, endpoint))
    return max(scored, key=lambda each: each[0])[1] if scored else None


def _needs_picture(endpoint: Endpoint) -> bool:
    """Gradio does not tell whether a picture may be left out: it may not where it comes first, or where the name speaks of it."""
    bind = guessed(endpoint)
    order = [bind.get(each.name) for each in endpoint.parameters]
    if "{first_frame}" not in order:
        return False
    picture = endpoint.parameters[order.index("{first_frame}")]
    if not picture.required or "optional" in f"{picture.name} {picture.label}".lower():
        return False
    before = "{prompt}" not in order or order.index("{first_frame}") < order.index("{prompt}")
    return before or bool(re.search(r"i2v|image_?(to|2)|img_?(to|2)|animate", endpoint.name))


# ---- the binding, kept and held


@dataclass(frozen=True)
class Bindings:
    """The bindings of one Space, kept in a file of the cache."""

    source: str
    folder: Path

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self.folder / "spaces" / f"{self.source.replace('/', '--')}.json"

    def of(
        self, settings: Mapping[str, Any], found: Mapping[str, Endpoint], roles: frozenset[Any], note: Callable[[str], None]
    ) -> Binding:
        """The binding for these inputs. Raises Unavailable if what is bound has changed, Unsupported if nothing fits."""
        kept = self._kept().get(key_of(roles), {})
        name = settings.get("endpoint", {})
        name = name.get(key_of(roles)) if isinstance(name, Mapping) else name
        name = name or ("" if "bind" in settings else kept.get("endpoint", ""))
        endpoint = found.get(name) if name else best(found, roles)
        if endpoint is None and name:
            raise self._changed(f"has no endpoint {name} any more; it has {', '.join(found) or 'none'}", settings)
        if endpoint is None:
            raise Unsupported(
                f"the Space {self.source} has no endpoint that makes a clip from {key_of(roles).replace('_', ' ')}",
                hint=f"It has {', '.join(found) or 'none'}. A card can name one in settings.endpoint.",
                space=self.source,
            )
        bind = _for(endpoint, settings["bind"]) if "bind" in settings else kept.get("bind") or guessed(endpoint)
        if gone := [each for each in bind if endpoint.parameter(each) is None]:
            has = ", ".join(each.name for each in endpoint.parameters)
            raise self._changed(f"has no parameter {', '.join(gone)} at {endpoint.name} any more; it has {has}", settings)
        fixed = settings.get("schema_hash")
        fixed = fixed.get(endpoint.name) if isinstance(fixed, Mapping) else fixed
        same = kept.get("endpoint") == endpoint.name and kept.get("bind") == dict(bind)
        if (expected := fixed or (kept.get("bound") if same else None)) and expected != endpoint.bound(bind):
            raise self._changed(f"takes other values at {endpoint.name} than when it was bound", settings)
        if same and kept.get("schema") != endpoint.schema:
            note(f"The Space {self.source} has changed since it was last used; what is asked of it has not.")
        self._keep(key_of(roles), Binding(endpoint, bind))
        return Binding(endpoint, bind)

    def _changed(self, how: str, settings: Mapping[str, Any]) -> Unavailable:
        mend = "Correct `settings.bind` in its card" if "bind" in settings else f"Look at its page, then remove {self.path}"
        return Unavailable(
            f"the Space {self.source} {how}",
            hint=f"{mend}, or ask for it by name to have it bound anew: -m spaces/{self.source}.",
            retryable=False,
            space=self.source,
        )

    def _kept(self) -> dict[str, Any]:
        try:
            kept = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _keep(self, key: str, binding: Binding) -> None:
        endpoint, bind = binding.endpoint, dict(binding.bind)
        new = {"endpoint": endpoint.name, "bind": bind, "bound": endpoint.bound(bind), "schema": endpoint.schema}
        kept = self._kept()
        if kept.get(key) == new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole(self.path) as part:
            part.write_text(json.dumps({**kept, key: new}, indent=1, sort_keys=True), "utf-8")


def _for(endpoint: Endpoint, bind: Mapping[str, Any]) -> Mapping[str, Any]:
    """A card's table is of one endpoint, or has a table for each, under names that begin with a slash."""
    own = bind.get(endpoint.name)
    return own if isinstance(own, Mapping) else {name: each for name, each in bind.items() if not name.startswith("/")}


# ---- what is sent


def arguments(binding: Binding, known: Mapping[str, Any], note: Callable[[str], None]) -> dict[str, Any]:
    """What is sent to the endpoint, by parameter. Raises Unsupported for required parameters that are not bound, RequestError."""
    given: dict[str, Any] = {}
    lacking = []
    for each in binding.endpoint.parameters:
        value = filled(binding.bind[each.name], known) if each.name in binding.bind else None
        if value is not None:
            given[each.name] = _fitted(each, value, note)
        elif each.required and each.name in binding.bind and (each.component in FILES or each.kind == "string"):
            given[each.name] = None if each.component in FILES else ""
        elif each.required:
            lacking.append(each)
    if lacking:
        listed = ", ".join(f"{each.name} ({each.label or each.component})" for each in lacking)
        raise Unsupported(
            f"{binding.endpoint.name} of this Space needs {listed}, and nothing says what to give",
            hint=f'Bind it in a card: under [settings.bind], {lacking[0].name} = "{{prompt}}", or a value of its own.',
            parameters=[each.name for each in lacking],
        )
    return given


def _fitted(parameter: Parameter, value: Any, note: Callable[[str], None]) -> Any:
    """The value as the parameter takes it."""
    if parameter.choices:
        return _chosen(parameter, value)
    if parameter.component == "Video" and parameter.wrapped:
        return {"video": value, "subtitles": None}
    if parameter.kind in ("number", "integer") and isinstance(value, int | float):
        low = value if parameter.least is None else max(value, parameter.least)
        held = low if parameter.most is None else min(low, parameter.most)
        if held != value:
            note(f"The Space takes {parameter.name} from {parameter.least:g} to {parameter.most:g}, not {value:g}.")
        return round(held) if parameter.kind == "integer" or held == round(held) else held
    return str(value) if parameter.kind == "string" and isinstance(value, int | float) else value


def _chosen(parameter: Parameter, value: Any) -> Any:
    """Their choice that is the same word as ours, however it is written; all words for "no motion" are one."""
    if value in parameter.choices:
        return value
    wanted = plain(str(value[0] if isinstance(value, list | tuple) and value else value))
    for choice in parameter.choices:
        theirs = plain(str(choice))
        if theirs == wanted or (theirs in STILL and wanted in STILL) or sorted(theirs.split("_")) == sorted(wanted.split("_")):
            return choice
    listed = ", ".join(map(str, parameter.choices))
    raise RequestError(f"the Space takes {listed} as {parameter.name}, not {value!r}", field=parameter.name)
