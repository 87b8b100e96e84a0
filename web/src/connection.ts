// One session over as many WebSockets as it takes: hello, resume, acknowledgements, input, retries.

import { retryDelay } from './backoff';
import { InputQueue } from './input';
import * as protocol from './protocol';
import { endedByClose, isOver, type Status } from './status';

/** What a WebSocket is to a connection. */
export interface Socket {
  binaryType: BinaryType;
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent<unknown>) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  send(frame: protocol.Frame): void;
  close(code?: number): void;
}

/** What a connection needs of its surroundings, and whom it tells. */
export interface Peer {
  /** Opens a WebSocket with the subprotocol `webshell.v1`. */
  open(): Socket;
  /** Finds out why a WebSocket did not open: a status that ends the tries, or undefined to try again. */
  diagnose(): Promise<Status | undefined>;
  /** The state changed. */
  onStatus(status: Status): void;
  /** A session begins or goes on. `lost`: output before it is gone, so the screen is not what it was. */
  onWelcome(welcome: protocol.Welcome, lost: boolean): void;
  /** Output, in order. The bytes are the receiver's; it calls `parsed` once they took effect. */
  onOutput(bytes: Uint8Array<ArrayBuffer>): void;
  onPrompt(prompt: protocol.Prompt): void;
  onNotice(notice: protocol.Notice): void;
}

/** What of a session outlives the page (in session storage), to go on after a reload. */
export interface Kept {
  readonly token: string;
  readonly received: number;
  readonly input: number;
  readonly unacknowledged: Uint8Array;
}

/** Acknowledge at the latest after this many parsed bytes; the gateway sends at most 256 KiB ahead, and every message costs. */
const ACK_BYTES = 32 * 1024;
/** Acknowledge the rest after this long, in ms. Progress does not depend on it; it only lets the gateway forget sooner. */
const ACK_DELAY = 50;
/** A try that has not led to a welcome after this long, in ms, is given up. */
const OPEN_TIMEOUT = 15_000;
/** A connection that lasted this long, in ms, was a good one: after it, the first retry is immediate again. */
const GOOD_AFTER = 5_000;
/** Input unanswered for this long, in ms, with nothing else received: the connection may be dead without the browser noticing. */
const STALL = 20_000;
/** The code with which a gateway says that it knows no such session. */
const UNKNOWN_SESSION = 4301;
/** Unacknowledged input that is kept over a reload, in bytes: as much as a gateway's window. */
const KEEP_INPUT = 256 * 1024;

/** The client's side of one session. */
export class Connection {
  private status: Status = { kind: 'opening', resuming: false };
  private socket: Socket | undefined;
  private welcomedAt: number | undefined;
  private attempt = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private openTimer: ReturnType<typeof setTimeout> | undefined;
  private ackTimer: ReturnType<typeof setTimeout> | undefined;
  private stallTimer: ReturnType<typeof setTimeout> | undefined;

  private token: string | undefined;
  private resumed = false;
  /** The connection was replaced because input stalled, and input has not moved since. */
  private replaced = false;
  /** Output positions: of the next byte on this socket, of the next new byte, parsed by the terminal, acknowledged. */
  private incoming = 0;
  private received = 0;
  private parsedTo = 0;
  private acked = 0;
  private input = new InputQueue();
  private window = 0;
  /** The prompt that the gateway waits for on this socket, and an answer given while there was none. */
  private asked: number | undefined;
  private answered: { id: number; answers: readonly string[] | undefined } | undefined;

  constructor(
    private readonly peer: Peer,
    private size: protocol.Size,
  ) {}

  /** Opens a new session, or goes on with the one that was kept. */
  start(kept?: Kept): void {
    this.token = kept?.token;
    this.received = this.parsedTo = kept?.received ?? 0;
    this.input = new InputQueue(kept?.input, kept?.unacknowledged);
    this.answered = undefined;
    this.attempt = 0;
    this.connect();
  }

  /** Tries now, whatever is being waited for; an open connection is replaced (nothing is lost by that). */
  reconnect(): void {
    if (isOver(this.status)) return;
    this.attempt = 0;
    this.connect();
  }

  /** Where the output stream stands: bytes of this session that the terminal has parsed. */
  get position(): number {
    return this.parsedTo;
  }

  /** Sends input, now or after a reconnect; false when too much is waiting already and this was not taken. */
  send(bytes: Uint8Array): boolean {
    if (!this.input.push(bytes)) return false;
    this.pump();
    return true;
  }

  /** The terminal has parsed this many more bytes of output. */
  parsed(count: number): void {
    this.parsedTo += count;
    if (this.ackable - this.acked >= ACK_BYTES) this.ack();
    else this.ackTimer ??= setTimeout(() => this.ack(), ACK_DELAY);
  }

  /** The terminal has a new size; while disconnected, the newest is told at the next hello. */
  resize(size: protocol.Size): void {
    this.size = size;
    if (this.welcomedAt !== undefined) this.socket?.send(protocol.encodeResize(size));
  }

  /** Answers a prompt, or cancels it. An answer given while disconnected is sent when the prompt is repeated. */
  answer(id: number, answers: readonly string[] | undefined): void {
    this.answered = { id, answers };
    this.sendAnswer();
  }

  /** Asks the gateway to end the session. */
  end(): void {
    if (this.welcomedAt !== undefined) this.socket?.send(protocol.encodeEnd());
  }

  /** What is needed to go on after a reload; undefined when there is no session. */
  keep(): Kept | undefined {
    const unacknowledged = this.input.keep(KEEP_INPUT) ?? new Uint8Array(0);
    if (this.token === undefined || isOver(this.status)) return undefined;
    return { token: this.token, received: this.parsedTo, input: this.input.position, unacknowledged };
  }

  private connect(): void {
    this.drop();
    this.setStatus({ kind: 'opening', resuming: this.resuming });
    const socket = this.peer.open();
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    let opened = false;
    socket.onopen = () => {
      opened = true;
      // From what is parsed, not from what is received: the gateway forgets what lies before, and until the terminal has
      // parsed it, a reload would miss it. What comes twice is dropped.
      const resume = this.token === undefined ? undefined : { token: this.token, received: this.parsedTo };
      socket.send(protocol.encodeHello(this.size, resume));
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.closed(event, opened);
    this.openTimer = setTimeout(() => this.retry(), OPEN_TIMEOUT);
  }

  /** Lets go of the socket; whatever it still says is not heard. */
  private drop(): void {
    for (const timer of [this.retryTimer, this.openTimer, this.ackTimer, this.stallTimer]) clearTimeout(timer);
    this.ackTimer = this.stallTimer = undefined;
    const lasted = this.welcomedAt === undefined ? 0 : Date.now() - this.welcomedAt;
    if (lasted >= GOOD_AFTER) this.attempt = 0;
    this.welcomedAt = this.asked = undefined;
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(1000);
    this.socket = undefined;
  }

  private receive(data: unknown): void {
    let message: protocol.ServerMessage;
    try {
      if (!(data instanceof ArrayBuffer)) throw new protocol.ProtocolError('a text frame');
      message = protocol.decode(data);
    } catch (error) {
      this.over({ reason: 'protocol', code: 1002, message: `The gateway said something unknown: ${String(error)}.` });
      return;
    }
    switch (message.type) {
      case 'welcome':
        this.welcomed(message.welcome);
        break;
      case 'output':
        this.take(message.bytes);
        break;
      case 'ack':
        this.input.ack(message.position);
        this.replaced = false;
        this.pump();
        break;
      case 'state':
        if (message.state === 'connected') this.setStatus({ kind: 'connected', resumed: this.resumed });
        else this.setStatus({ kind: 'connecting', step: message.step });
        break;
      case 'prompt':
        this.asked = message.prompt.id;
        if (this.answered?.id === message.prompt.id) this.sendAnswer();
        else this.peer.onPrompt(message.prompt);
        break;
      case 'notice':
        this.peer.onNotice(message.notice);
        break;
      case 'ended':
        if (message.ended.code === UNKNOWN_SESSION && this.resuming) this.finish({ kind: 'gone' });
        else this.over(message.ended);
        break;
    }
    this.watch();
  }

  private welcomed(welcome: protocol.Welcome): void {
    clearTimeout(this.openTimer);
    this.welcomedAt = Date.now();
    this.resumed = welcome.resumed;
    this.token = welcome.token;
    this.window = welcome.inputWindow;
    this.incoming = this.acked = welcome.output;
    const lost = Math.max(0, welcome.output - this.received);
    // What the terminal has yet to parse stays ahead of the position, so that both meet again.
    this.received += lost;
    this.parsedTo += lost;
    this.input.rewind(welcome.input);
    this.peer.onWelcome(welcome, lost > 0);
    this.pump();
  }

  private take(bytes: Uint8Array<ArrayBuffer>): void {
    const known = this.received - this.incoming;
    this.incoming += bytes.length;
    if (known < bytes.length) {
      this.received = this.incoming;
      this.peer.onOutput(known > 0 ? bytes.subarray(known) : bytes);
    } else {
      this.parsed(0);
    }
  }

  private closed(event: CloseEvent, opened: boolean): void {
    switch (event.code) {
      case 1000:
        this.over(endedByClose(event.code, event.reason || 'exit'));
        break;
      case 4206:
        this.drop();
        this.setStatus({ kind: 'taken-over' });
        break;
      case UNKNOWN_SESSION:
        if (this.resuming) this.finish({ kind: 'gone' });
        else this.over(endedByClose(event.code, event.reason));
        break;
      case 1002:
      case 1009:
        this.over(endedByClose(event.code, event.reason));
        break;
      default:
        if (event.code >= 4000) this.over(endedByClose(event.code, event.reason));
        else if (opened) this.retry();
        else void this.diagnose();
    }
  }

  private async diagnose(): Promise<void> {
    const socket = this.socket;
    const verdict = await this.peer.diagnose();
    if (this.socket !== socket) return;
    if (!verdict) this.retry();
    else {
      this.drop();
      this.setStatus(verdict);
    }
  }

  private retry(): void {
    this.drop();
    const delay = retryDelay(this.attempt++, Math.random());
    if (delay > 0) this.setStatus({ kind: 'waiting', resuming: this.resuming, retryAt: Date.now() + delay });
    this.retryTimer = setTimeout(() => this.connect(), delay);
  }

  private over(ended: protocol.Ended): void {
    this.finish({ kind: 'ended', ended });
  }

  private finish(status: Status): void {
    this.ack();
    this.drop();
    this.token = undefined;
    this.setStatus(status);
  }

  private get resuming(): boolean {
    return this.token !== undefined;
  }

  private setStatus(status: Status): void {
    this.status = status;
    this.peer.onStatus(status);
  }

  private ack(): void {
    clearTimeout(this.ackTimer);
    this.ackTimer = undefined;
    if (this.welcomedAt === undefined || this.ackable <= this.acked) return;
    this.acked = this.ackable;
    this.socket?.send(protocol.encodeAck(this.acked));
  }

  /** No further than this socket has brought: after a reconnect the terminal may be ahead of it. */
  private get ackable(): number {
    return Math.min(this.parsedTo, this.incoming);
  }

  private pump(): void {
    if (this.welcomedAt === undefined) return;
    for (let bytes = this.input.next(this.window); bytes; bytes = this.input.next(this.window)) {
      this.socket?.send(protocol.encodeInput(bytes));
    }
    if (this.stallTimer === undefined) this.watch();
  }

  /**
   * Replaces the connection when input stays unanswered. Once only until input moves again: a program that does not
   * read looks the same from here.
   */
  private watch(): void {
    clearTimeout(this.stallTimer);
    this.stallTimer = undefined;
    if (this.input.pending === 0 || this.replaced || this.welcomedAt === undefined) return;
    this.stallTimer = setTimeout(() => {
      this.replaced = true;
      this.connect();
    }, STALL);
  }

  private sendAnswer(): void {
    if (!this.answered || this.asked !== this.answered.id) return;
    this.socket?.send(protocol.encodeAnswer(this.answered.id, this.answered.answers));
    this.answered = this.asked = undefined;
  }
}
