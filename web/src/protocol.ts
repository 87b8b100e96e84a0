// The wire format `webshell.v1` (docs/protocol.md), pure: bytes in, messages out, and the reverse.

/** The WebSocket subprotocol that this file speaks. */
export const SUBPROTOCOL = 'webshell.v1';

/** Longest input sent in one frame, in bytes; the gateway closes on frames beyond 64 KiB. */
export const MAX_INPUT_FRAME = 32 * 1024;

/** The terminal's size: in characters, and in device pixels where known (0 otherwise). */
export interface Size {
  readonly cols: number;
  readonly rows: number;
  readonly width: number;
  readonly height: number;
}

/** Asks to go on with an earlier session, from an output position. */
export interface Resume {
  readonly token: string;
  readonly received: number;
}

/** The answer to a hello. */
export interface Welcome {
  readonly session: string;
  readonly token: string;
  readonly resumed: boolean;
  readonly output: number;
  readonly input: number;
  readonly inputWindow: number;
  readonly clipboardWrite: boolean;
}

/** One question of a keyboard-interactive request. */
export interface Question {
  readonly text: string;
  readonly echo: boolean;
}

/** A keyboard-interactive request (RFC 4256) for the person. */
export interface Prompt {
  readonly id: number;
  /** `user@host`, said by the gateway. All that follows is the machine's own text. */
  readonly asker: string;
  readonly name: string;
  readonly instruction: string;
  readonly prompts: readonly Question[];
}

/** Something a person should know. */
export interface Notice {
  readonly kind: string;
  readonly seconds: number | undefined;
  readonly message: string;
}

/** The host key that was met, and the ones that were expected. */
export interface HostKey {
  readonly presented: string;
  readonly expected: readonly string[];
  readonly line: string;
}

/** Why a session is over. */
export interface Ended {
  readonly reason: string;
  readonly code: number;
  readonly message: string;
  readonly hint?: string;
  readonly status?: number;
  readonly signal?: string;
  readonly hostKey?: HostKey;
}

/** A message from the gateway. */
export type ServerMessage =
  | { readonly type: 'welcome'; readonly welcome: Welcome }
  | { readonly type: 'output'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly type: 'ack'; readonly position: number }
  | { readonly type: 'state'; readonly state: string; readonly step: string }
  | { readonly type: 'prompt'; readonly prompt: Prompt }
  | { readonly type: 'notice'; readonly notice: Notice }
  | { readonly type: 'ended'; readonly ended: Ended };

/** A message that does not follow the protocol. */
export class ProtocolError extends Error {}

/** The frame of one client message. */
export type Frame = Uint8Array<ArrayBuffer>;

/** Opens a session, or goes on with one. */
export function encodeHello(size: Size, resume?: Resume): Frame {
  return encodeJson(0x01, resume ? { ...size, resume } : size);
}

/** Bytes for the shell: 1 to `MAX_INPUT_FRAME`. */
export function encodeInput(bytes: Uint8Array): Frame {
  const frame = new Uint8Array(1 + bytes.length);
  frame[0] = 0x02;
  frame.set(bytes, 1);
  return frame;
}

/** The output position that the terminal has parsed up to. */
export function encodeAck(position: number): Frame {
  const frame = new Uint8Array(9);
  frame[0] = 0x03;
  new DataView(frame.buffer).setBigUint64(1, BigInt(position));
  return frame;
}

/** The terminal's new size. */
export function encodeResize(size: Size): Frame {
  const frame = new Uint8Array(9);
  const view = new DataView(frame.buffer);
  view.setUint8(0, 0x04);
  view.setUint16(1, size.cols);
  view.setUint16(3, size.rows);
  view.setUint16(5, size.width);
  view.setUint16(7, size.height);
  return frame;
}

/** Answers a prompt; without answers, cancels it. */
export function encodeAnswer(id: number, answers?: readonly string[]): Frame {
  return encodeJson(0x05, answers ? { id, answers } : { id });
}

/** Ends the session now. */
export function encodeEnd(): Frame {
  return Uint8Array.of(0x06);
}

function encodeJson(tag: number, value: unknown): Frame {
  const body = new TextEncoder().encode(JSON.stringify(value));
  const frame = new Uint8Array(1 + body.length);
  frame[0] = tag;
  frame.set(body, 1);
  return frame;
}

/** Reads one message of the gateway; throws `ProtocolError` on anything the protocol does not know. */
export function decode(data: ArrayBuffer): ServerMessage {
  const frame = new Uint8Array(data);
  const body = frame.subarray(1);
  switch (frame[0]) {
    case 0x81:
      return { type: 'welcome', welcome: readWelcome(readJson(body)) };
    case 0x82:
      return { type: 'output', bytes: body };
    case 0x83:
      return { type: 'ack', position: readPosition(body) };
    case 0x84: {
      const json = readJson(body);
      return { type: 'state', state: text(json, 'state'), step: optionalText(json, 'step') ?? '' };
    }
    case 0x85:
      return { type: 'prompt', prompt: readPrompt(readJson(body)) };
    case 0x86: {
      const json = readJson(body);
      return {
        type: 'notice',
        notice: { kind: text(json, 'kind'), seconds: optionalNumber(json, 'seconds'), message: text(json, 'message') },
      };
    }
    case 0x87:
      return { type: 'ended', ended: readEnded(readJson(body)) };
    default:
      throw new ProtocolError(`unknown message tag ${frame[0]}`);
  }
}

type Json = Readonly<Record<string, unknown>>;

function readJson(body: Uint8Array): Json {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new ProtocolError('a message is not valid JSON');
  }
  return asObject(value);
}

function asObject(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ProtocolError('a message is not a JSON object');
  }
  return value as Json;
}

function optionalText(json: Json, key: string): string | undefined {
  const value = json[key];
  return typeof value === 'string' ? value : undefined;
}

function text(json: Json, key: string): string {
  const value = optionalText(json, key);
  if (value === undefined) throw new ProtocolError(`"${key}" is not a string`);
  return value;
}

function optionalNumber(json: Json, key: string): number | undefined {
  const value = json[key];
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

function number(json: Json, key: string): number {
  const value = optionalNumber(json, key);
  if (value === undefined) throw new ProtocolError(`"${key}" is not a whole number`);
  return value;
}

function list(json: Json, key: string): readonly unknown[] {
  const value = json[key];
  if (!Array.isArray(value)) throw new ProtocolError(`"${key}" is not a list`);
  return value;
}

function readPosition(body: Uint8Array): number {
  if (body.length !== 8) throw new ProtocolError('an acknowledgement is not 8 bytes long');
  const position = Number(new DataView(body.buffer, body.byteOffset, 8).getBigUint64(0));
  if (!Number.isSafeInteger(position)) throw new ProtocolError('a position is out of range');
  return position;
}

function readWelcome(json: Json): Welcome {
  return {
    session: text(json, 'session'),
    token: text(json, 'token'),
    resumed: json.resumed === true,
    output: number(json, 'output'),
    input: number(json, 'input'),
    inputWindow: number(json, 'inputWindow'),
    clipboardWrite: json.clipboardWrite === true,
  };
}

function readPrompt(json: Json): Prompt {
  return {
    id: number(json, 'id'),
    asker: optionalText(json, 'asker') ?? '',
    name: optionalText(json, 'name') ?? '',
    instruction: optionalText(json, 'instruction') ?? '',
    prompts: list(json, 'prompts').map((item) => {
      const question = asObject(item);
      return { text: text(question, 'text'), echo: question.echo === true };
    }),
  };
}

function readEnded(json: Json): Ended {
  const hint = optionalText(json, 'hint');
  const status = optionalNumber(json, 'status');
  const signal = optionalText(json, 'signal');
  return {
    reason: text(json, 'reason'),
    code: number(json, 'code'),
    message: text(json, 'message'),
    ...(hint !== undefined && { hint }),
    ...(status !== undefined && { status }),
    ...(signal !== undefined && { signal }),
    ...(json.hostKey !== undefined && { hostKey: readHostKey(asObject(json.hostKey)) }),
  };
}

function readHostKey(json: Json): HostKey {
  return {
    presented: text(json, 'presented'),
    expected: list(json, 'expected').filter((item) => typeof item === 'string'),
    line: optionalText(json, 'line') ?? '',
  };
}
