// A gateway for the tests: it keeps the rules of docs/protocol.md, and breaks connections when told to.

import type { Socket } from '../src/connection';
import type { Size } from '../src/protocol';

/** The size that the tests' pages have. */
export const SIZE: Size = { cols: 80, rows: 24, width: 640, height: 384 };

const OUTPUT_WINDOW = 256 * 1024;
const INPUT_WINDOW = 4096;

interface Hello extends Size {
  resume?: { token: string; received: number };
}

class FakeSocket implements Socket {
  binaryType: BinaryType = 'blob';
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent<unknown>) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  closed = false;

  constructor(private readonly heard: (frame: Uint8Array<ArrayBuffer>) => void) {}

  send(frame: Uint8Array<ArrayBuffer>): void {
    if (!this.closed) this.heard(frame);
  }

  close(): void {
    this.closed = true;
  }
}

/** One session; at most one connection at a time. */
export class FakeGateway {
  hellos: Hello[] = [];
  sizes: Size[] = [];
  answers: unknown[] = [];
  typed: number[] = [];
  sockets = 0;
  /** The last acknowledged output position; nothing before it is held. */
  acked = 0;
  acksInput = true;
  misuse: string | undefined;
  readonly firstToken = token(1);

  private socket: FakeSocket | undefined;
  private output: number[] = [];
  private start = 0;
  private sent = 0;
  private tokens = 1;
  private swallowing = false;

  open(): Socket {
    this.sockets++;
    const socket = new FakeSocket((frame) => {
      if (socket === this.socket && !this.swallowing) this.hear(frame);
    });
    this.swallowing = false;
    this.socket = socket;
    return socket;
  }

  /** Completes the WebSocket's handshake; the page's hello is answered. */
  accept(): void {
    this.socket?.onopen?.(new Event('open'));
  }

  /** Breaks the connection. */
  lose(code: number, reason = ''): void {
    const socket = this.socket;
    this.socket = undefined;
    socket?.onclose?.({ code, reason } as CloseEvent);
  }

  /** From now on what the page sends is lost on the way, though the connection looks open. */
  swallow(): void {
    this.swallowing = true;
  }

  /** The shell writes. */
  print(bytes: Uint8Array): void {
    for (const byte of bytes) this.output.push(byte);
  }

  /** Sends output, at most what the window allows. */
  deliver(most = OUTPUT_WINDOW): void {
    const until = Math.min(this.sent + most, this.acked + OUTPUT_WINDOW, this.start + this.output.length);
    if (until <= this.sent || !this.socket) return;
    const bytes = this.output.slice(this.sent - this.start, until - this.start);
    this.sent = until;
    this.say(Uint8Array.from([0x82, ...bytes]));
  }

  /** Output before this position is gone. */
  forgetOutput(position: number): void {
    this.acked = position;
    this.forget();
  }

  state(state: unknown): void {
    this.json(0x84, state);
  }

  ask(id: number): void {
    this.json(0x85, { id, asker: 'ops@db-1', name: '', instruction: '', prompts: [{ text: 'Code: ', echo: false }] });
  }

  end(ended: unknown): void {
    this.json(0x87, ended);
  }

  private hear(frame: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(frame.buffer);
    switch (frame[0]) {
      case 0x01:
        this.greet(JSON.parse(new TextDecoder().decode(frame.subarray(1))));
        break;
      case 0x02:
        if (frame.length > 64 * 1024) this.misuse = 'a frame too large';
        for (const byte of frame.subarray(1)) this.typed.push(byte);
        if (this.acksInput) this.say(position(0x83, this.typed.length));
        break;
      case 0x03: {
        const acked = Number(view.getBigUint64(1));
        if (acked > this.sent) this.misuse = `ack of ${acked}, but only ${this.sent} sent`;
        if (acked < this.acked) this.misuse = `ack of ${acked} behind ${this.acked}`;
        this.acked = acked;
        this.forget();
        break;
      }
      case 0x04: {
        const [cols, rows, width, height] = [1, 3, 5, 7].map((at) => view.getUint16(at)) as [
          number,
          number,
          number,
          number,
        ];
        this.sizes.push({ cols, rows, width, height });
        break;
      }
      case 0x05:
        this.answers.push(JSON.parse(new TextDecoder().decode(frame.subarray(1))));
        break;
      default:
        this.misuse = `unknown tag ${frame[0]}`;
    }
  }

  private greet(hello: Hello): void {
    this.hellos.push(hello);
    const { resume } = hello;
    if (resume && resume.token !== token(this.tokens) && resume.token !== token(this.tokens - 1)) {
      this.misuse = 'an old token';
    }
    this.sent = this.acked = Math.max(this.acked, resume?.received ?? 0);
    if (this.sent > this.start + this.output.length) this.misuse = 'a resume beyond the output';
    this.forget();
    if (resume) this.tokens++;
    this.json(0x81, {
      session: 's',
      token: token(this.tokens),
      resumed: resume !== undefined,
      output: this.sent,
      input: this.typed.length,
      inputWindow: INPUT_WINDOW,
      clipboardWrite: false,
    });
  }

  private forget(): void {
    this.output.splice(0, this.acked - this.start);
    this.start = this.acked;
  }

  private json(tag: number, value: unknown): void {
    this.say(Uint8Array.from([tag, ...new TextEncoder().encode(JSON.stringify(value))]));
  }

  private say(frame: Uint8Array<ArrayBuffer>): void {
    this.socket?.onmessage?.({ data: frame.buffer } as MessageEvent<unknown>);
  }
}

function token(number: number): string {
  return String(number).padStart(32, '0');
}

function position(tag: number, value: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(9);
  frame[0] = tag;
  new DataView(frame.buffer).setBigUint64(1, BigInt(value));
  return frame;
}
