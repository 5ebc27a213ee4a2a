"""Everything that a person or an operator may set, read once and passed down (J8).

From, first to last: arguments, environment variables, a `.env` file in the working folder, `reelwright.toml` in the
working folder or the user's configuration folder, defaults. Every name works with the prefix REELWRIGHT_; the names of
the video-generation guide work without it too.
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from reelwright.errors import RequestError

Quality = Literal["draft", "standard", "high", "premium"]

_QUALITY_WORDS = {"low": "draft", "medium": "standard", "hd": "high", "4k": "premium"}


def _quality(value: Any) -> Any:
    word = str(value).strip().lower()
    return _QUALITY_WORDS.get(word, word)


def _also(name: str, *others: str) -> Any:
    """The field prefixed, as in the guide, and under its own name."""
    return AliasChoices(f"REELWRIGHT_{name.upper()}", name.upper(), *others, name)


def _listed(value: object) -> object:
    return tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value


def config_folder() -> Path:
    """Where a person's own settings, cards and fonts lie; REELWRIGHT_HOME moves it together with the cache."""
    home = os.environ.get("REELWRIGHT_HOME")
    return Path(home).expanduser() if home else platformdirs.user_config_path("reelwright", appauthor=False)


def _cache_folder() -> Path:
    home = os.environ.get("REELWRIGHT_HOME")
    return Path(home).expanduser() / "cache" if home else platformdirs.user_cache_path("reelwright", appauthor=False)


def _data_folder() -> Path:
    home = os.environ.get("REELWRIGHT_HOME")
    return Path(home).expanduser() / "data" if home else platformdirs.user_data_path("reelwright", appauthor=False)


class Settings(BaseSettings):
    """One value for the whole program; frozen."""

    model_config = SettingsConfigDict(
        env_prefix="REELWRIGHT_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    default_text_to_video_model: str = Field("placeholder", validation_alias=_also("default_text_to_video_model"))
    """Model for a prompt alone."""
    default_image_to_video_model: str = Field("placeholder", validation_alias=_also("default_image_to_video_model"))
    """Model for a picture and a prompt."""
    max_video_duration: float = Field(600.0, gt=0, le=86_400, validation_alias=_also("max_video_duration"))
    """Seconds; longer clips are refused. A film may be longer."""
    max_video_file_size: int = Field(8 * 1024**3, gt=0, validation_alias=_also("max_video_file_size"))
    """Bytes; larger input files are refused."""
    video_quality_preset: Annotated[Quality, BeforeValidator(_quality)] = Field(
        "standard", validation_alias=_also("video_quality_preset")
    )
    """draft, standard, high or premium; low, medium and hd mean the first three."""
    video_frame_rate: float | None = Field(None, ge=1, le=240, validation_alias=_also("video_frame_rate"))
    """Frames per second where a request names none; the preset's or the model's if unset."""
    video_inference_steps: int | None = Field(None, ge=1, le=1000, validation_alias=_also("video_inference_steps"))
    """Inference steps where a request names none; the model's if unset."""
    request_timeout: float = Field(600.0, gt=0, validation_alias=_also("request_timeout"))
    """Seconds until a hosted model is given up."""
    hf_token: SecretStr | None = Field(
        None, validation_alias=AliasChoices("REELWRIGHT_HF_TOKEN", "HF_TOKEN", "HF_API_KEY", "hf_token")
    )
    openai_api_key: SecretStr | None = Field(None, validation_alias=_also("openai_api_key"))
    fal_key: SecretStr | None = Field(None, validation_alias=_also("fal_key"))
    replicate_api_token: SecretStr | None = Field(None, validation_alias=_also("replicate_api_token"))
    runwayml_api_secret: SecretStr | None = Field(None, validation_alias=_also("runwayml_api_secret"))
    gemini_api_key: SecretStr | None = Field(None, validation_alias=_also("gemini_api_key", "GOOGLE_API_KEY"))
    lumaai_api_key: SecretStr | None = Field(None, validation_alias=_also("lumaai_api_key"))
    kling_access_key: SecretStr | None = Field(None, validation_alias=_also("kling_access_key"))
    kling_secret_key: SecretStr | None = Field(None, validation_alias=_also("kling_secret_key"))
    minimax_api_key: SecretStr | None = Field(None, validation_alias=_also("minimax_api_key"))
    comfy_servers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ("http://127.0.0.1:8188",)
    """Addresses of ComfyUI servers, with commas between; work goes to the one with the shortest queue."""
    budget_usd_day: float | None = Field(None, ge=0)
    """US dollars that hosted models may cost within 24 hours, in all; no limit if unset."""
    budget_usd_day_owner: float | None = Field(None, ge=0)
    """The same for each owner."""
    routes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """What the model `auto` stands for, tried in this order: MODEL [under SECONDS s] [under MONEY usd], with commas between."""
    cache_folder: Path = Field(default_factory=_cache_folder)
    """Where results are kept so that the same request is not made twice."""
    cache_limit_gb: float = Field(20.0, ge=0)
    """GB of results kept; the least recently used go first. 0 keeps nothing."""
    output_folder: Path = Path("films")
    """Where films go when no file is named."""
    workers: int | None = Field(None, ge=1, le=64)
    """Segments of a film rendered at the same time; by cores and picture size if unset."""
    data_folder: Path = Field(default_factory=_data_folder)
    """Where a server keeps its jobs and files."""
    store: str | None = None
    """Database of the jobs: sqlite:///PATH or postgresql://USER@HOST/NAME; a file in `data_folder` if unset."""
    blobs: str | None = None
    """Where a server's files lie: file:///FOLDER or s3://BUCKET/PREFIX; `data_folder` if unset."""
    queue: str | None = None
    """What wakes workers: celery+redis://HOST; if unset they look into the store themselves."""
    server: str | None = None
    """Address of a server that does the work, for `reel` and `reelwright.Client`; this machine does it if unset."""
    api_key: SecretStr | None = None
    """The key that this server asks for."""
    keep_days: float | None = Field(None, gt=0)
    """Days after which a server's files go; pinned ones stay. They are kept if unset."""
    keep_files: int | None = Field(None, ge=0)
    """Files that each owner keeps on a server; the oldest go first. All if unset."""
    keep_gb: float | None = Field(None, ge=0)
    """GB that each owner keeps on a server; the oldest files go first. All if unset."""
    log: Literal["text", "json"] = "text"
    """How `reel serve` and `reel worker` log: lines of text, or of JSON."""
    requests_per_minute: int = Field(1200, ge=1)
    """Calls of a server that one key may make a minute, where the key says nothing else."""
    allow_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Names and networks (10.0.0.0/8), with commas between, that a server may call for a client though they are not public."""
    fallback: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Models, with commas between, that serve when the one that was asked for fails; in films the placeholder comes last."""
    device: str | None = None
    """Where local models run: cuda, cuda:1, mps, xpu, cpu; the best there is if unset."""
    model_ttl: float = Field(600.0, ge=0)
    """Seconds that an idle model stays in memory; 0 lets it go after each use."""
    memory_wait: float = Field(60.0, ge=0)
    """Seconds that a shot waits for memory that something else holds, before it is refused."""
    lossy: bool = False
    """Whether a model may be held at a lower precision (fp8) where it does not fit otherwise; pixels change a little."""
    trust_code: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Models, with commas between, that may run the code they bring. It can do anything that you can."""
    trusted_spaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Owners of Hugging Face Spaces, or Spaces as owner/name, with commas between, that are sent the Hugging Face token."""
    lease: float = Field(60.0, ge=1, le=3600)
    """Seconds after which a worker that says nothing is taken for dead. Workers of one store need the same."""

    @property
    def store_url(self) -> str:
        """The store's address."""
        return self.store or f"sqlite:///{self.data_folder.expanduser().absolute() / 'reelwright.db'}"

    @property
    def blobs_url(self) -> str:
        """The blobs' address."""
        return self.blobs or (self.data_folder.expanduser().absolute() / "blobs").as_uri()

    def secret(self, name: str) -> str | None:
        """A provider's key: from the environment, `.env` or settings, else from the system's keyring; None if it is nowhere."""
        given = getattr(self, name, None)
        if isinstance(given, SecretStr) and given.get_secret_value():
            return given.get_secret_value()
        if name not in type(self).model_fields:  # that of a plug-in
            known = (os.environ.get(each) for each in (f"REELWRIGHT_{name.upper()}", name.upper()))
            if found_there := next(filter(None, known), None):
                return found_there
        try:
            import keyring
        except ImportError:
            return None
        try:
            found: str | None = keyring.get_password("reelwright", name)
            return found
        except Exception:  # noqa: BLE001  each system's keyring fails in its own way, and a locked one is no key
            return None

    def base_of(self, provider: str) -> str | None:
        """Another address for a provider, from REELWRIGHT_BASE_<PROVIDER>: a gateway of one's own, or a stand-in in tests."""
        return os.environ.get(f"REELWRIGHT_BASE_{provider.upper()}")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every key that is known, so that logs can leave them out."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return tuple(each.get_secret_value() for each in given if isinstance(each, SecretStr))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  part of pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = [path for path in (config_folder() / "reelwright.toml", Path("reelwright.toml")) if path.is_file()]
        return init_settings, env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls, toml_file=files)


def load(**given: Any) -> Settings:
    """The settings of this process; raises RequestError that names each wrong one."""
    try:
        return Settings(**given)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RequestError(f"the settings cannot be read: {error}", hint="Look at .env and reelwright.toml.") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise RequestError(f"a setting is wrong: {wrong}", hint="Look at the environment, .env and reelwright.toml.") from None


@cache
def current() -> Settings:
    """The settings, read on first use."""
    return load()
