/**
 * A Reelwright server from a phone: React Native, Expo, Capacitor, or any other place with `fetch` and `WebSocket`.
 *
 * A clip is cached under its fingerprint: what was asked for once plays again at once, without the network. While it is
 * fetched it plays already, for players read it from the server in ranges.
 */

/** What a phone stores files with; a few lines over expo-file-system, react-native-fs or Capacitor's Filesystem. */
export interface Files {
  /** Bytes of a file, or undefined if it is not there. */
  size(name: string): Promise<number | undefined>;
  append(name: string, bytes: Uint8Array): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** An address that a player on the phone can open. */
  uri(name: string): string;
}

/** What is asked for; the server says what else a model takes (`GET /api/models`). */
export interface Request {
  prompt: string;
  model?: string;
  seconds?: number;
  width?: number;
  height?: number;
  fps?: number;
  seed?: number;
  options?: Record<string, unknown>;
}

export interface Estimate {
  fingerprint: string;
  estimate_seconds: number;
  estimate_range: [number, number];
  price: string | null;
  cached: boolean;
  notes: string[];
}

export interface Job {
  id: string;
  state: "waiting" | "queued" | "running" | "done" | "failed" | "cancelled";
  progress: number;
  stage: string | null;
  eta_seconds: number | null;
  queue_position: number | null;
  error: { error: string; message: string } | null;
  result_url: string | null;
}

/** The newest picture of what is being made, as JPEG. */
export type OnPicture = (jpeg: Uint8Array) => void;
export type OnProgress = (job: Job) => void;

const PART = 1024 * 1024;
const TRIES = 5;

/** An error of the server: `code` is stable, `message` is for people. */
export class ReelwrightError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export class Reelwright {
  constructor(
    private readonly server: string,
    private readonly files: Files,
    private readonly key?: string,
  ) {}

  /** What a clip would come to: seconds of work, money, and the fingerprint under which it is cached. */
  estimate(request: Request): Promise<Estimate> {
    return this.call<Estimate>("POST", "/api/estimate", request);
  }

  /** The clip as an address to play: from the phone if it was fetched before, else made and fetched. */
  async clip(request: Request, onProgress?: OnProgress, onPicture?: OnPicture): Promise<string> {
    const { fingerprint } = await this.estimate(request);
    const name = `${fingerprint}.mp4`;
    if ((await this.files.size(name)) !== undefined) return this.files.uri(name);
    const job = await this.done(await this.start(request, fingerprint), onProgress, onPicture);
    await this.fetch(`/api/jobs/${job.id}/result`, name);
    return this.files.uri(name);
  }

  /** Queue a clip. The same fingerprint makes one job, however often a phone that loses its network asks; one that failed is retried. */
  private async start(request: Request, fingerprint: string): Promise<Job> {
    const job = await this.call<Job>("POST", "/api/jobs", request, { "Idempotency-Key": fingerprint });
    return job.state === "failed" || job.state === "cancelled" ? this.call<Job>("POST", `/api/jobs/${job.id}/retry`) : job;
  }

  /** The job when it is done; raises its error if it comes to nothing. */
  private async done(job: Job, onProgress?: OnProgress, onPicture?: OnPicture): Promise<Job> {
    let last = job;
    while (last.state !== "done") {
      if (last.state === "failed" || last.state === "cancelled") {
        throw new ReelwrightError(last.error?.error ?? "cancelled", last.error?.message ?? "It was cancelled.", 0);
      }
      await this.listen(job.id, (seen) => ((last = seen), onProgress?.(seen)), onPicture);
      last = await this.call<Job>("GET", `/api/jobs/${job.id}`); // the socket closed: the end, or a lost network
      if (last.state === "waiting" || last.state === "queued" || last.state === "running") await pause(1000);
    }
    return last;
  }

  /** Changes and pictures of a job until its end, or until the connection breaks. */
  private listen(job: string, onJob: OnProgress, onPicture?: OnPicture): Promise<void> {
    const key = this.key === undefined ? "" : `&key=${encodeURIComponent(this.key)}`;
    const previews = onPicture === undefined ? "&previews=false" : "";
    const socket = new WebSocket(`${this.server.replace(/^http/, "ws")}/api/events?job=${job}&until=end${previews}${key}`);
    socket.binaryType = "arraybuffer";
    return new Promise((resolve) => {
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        if (typeof data === "string") {
          const told = JSON.parse(data) as { type: string; job?: Job };
          if (told.type === "job" && told.job?.id === job) onJob(told.job);
        } else {
          const head = new DataView(data).getUint32(0); // the length of a JSON header, before the picture
          onPicture?.(new Uint8Array(data, 4 + head));
        }
      };
      socket.onerror = () => socket.close();
      socket.onclose = () => resolve();
    });
  }

  /** A file in parts, going on where it was when the network went away; it has its name only when it is whole. */
  private async fetch(path: string, name: string): Promise<void> {
    const part = `${name}.part`;
    let tries = 0;
    for (;;) {
      const have = (await this.files.size(part)) ?? 0;
      try {
        const range = { Range: `bytes=${have}-${have + PART - 1}` };
        const answer = await fetch(this.server + path, { headers: { ...this.headers(), ...range } });
        if (answer.status === 416) break; // all of it is there
        if (!answer.ok) throw await problem(answer);
        await this.files.append(part, new Uint8Array(await answer.arrayBuffer()));
        tries = 0;
        const total = Number(answer.headers.get("Content-Range")?.split("/")[1] ?? 0);
        if (answer.status === 200 || ((await this.files.size(part)) ?? 0) >= total) break;
      } catch (error) {
        if (error instanceof ReelwrightError || ++tries >= TRIES) throw error;
        await pause(500 * 2 ** tries);
      }
    }
    await this.files.rename(part, name);
  }

  private headers(): Record<string, string> {
    return this.key === undefined ? {} : { Authorization: `Bearer ${this.key}` };
  }

  private async call<T>(method: string, path: string, body?: object, more: Record<string, string> = {}): Promise<T> {
    const headers = { ...this.headers(), ...more, ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
    const answer = await fetch(this.server + path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    if (!answer.ok) throw await problem(answer);
    return (await answer.json()) as T;
  }
}

async function problem(answer: Response): Promise<ReelwrightError> {
  const body = (await answer.json().catch(() => ({}))) as { error?: string; message?: string };
  return new ReelwrightError(body.error ?? "http_error", body.message ?? `The server answered ${answer.status}.`, answer.status);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
