// Knows which bytes of the output begin a control sequence that is not complete yet.
//
// A snapshot of the screen says nothing of a sequence that the parser is in the middle of. This scanner follows the
// output alongside xterm.js, by the same states (https://vt100.net/emu/dec_ansi_parser, with xterm.js' own deviations),
// and keeps that sequence's bytes, so that after a reload they can be fed again. It expects whole UTF-8 characters.

/**
 * Most bytes kept of one sequence. What lies beyond (the middle of an image, say) is left out: the parser is then
 * still in the right state and swallows the rest, though the sequence itself is worthless.
 */
export const MAX_OPEN = 64 * 1024;

enum State {
  Ground,
  Escape,
  EscapeIntermediate,
  CsiEntry,
  CsiParam,
  CsiIntermediate,
  CsiIgnore,
  /** SOS, PM and APC strings. */
  IgnoredString,
  Osc,
  DcsEntry,
  DcsParam,
  DcsIntermediate,
  DcsIgnore,
  DcsPassthrough,
}

/** Follows the parser's state over the output. */
export class GroundScanner {
  private state = State.Ground;
  private open: number[] = [];

  /** The bytes since the parser was last between sequences, without control characters that took effect at once. */
  get tail(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.open);
  }

  /** Follows over the bytes that the terminal has parsed. */
  scan(bytes: Uint8Array): void {
    // ESC means the same in every state, so what came before the last one does not matter. Nor does text between
    // sequences, unless it may hold a C1 control character. This keeps the scanner out of the way of fast output.
    const last = bytes.lastIndexOf(0x1b);
    if (last >= 0) this.scanFrom(bytes, last);
    else if (this.state !== State.Ground || bytes.includes(0xc2)) this.scanFrom(bytes, 0);
  }

  private scanFrom(bytes: Uint8Array, start: number): void {
    const length = bytes.length;
    let at = start;
    while (at < length) {
      if (this.state === State.Ground) {
        while (at < length && bytes[at] !== 0x1b && bytes[at] !== 0xc2) at++;
        if (at === length) return;
      }
      const width = characterLength(bytes, at);
      this.step(bytes, at, width);
      at += width;
    }
  }

  private step(bytes: Uint8Array, at: number, width: number): void {
    const code = codeOf(bytes, at, width);
    const opened = opener(code);
    if (opened !== undefined) {
      this.state = opened;
      this.open = [];
    } else {
      const next = transition(this.state, code);
      // Control characters inside a sequence act at once: feeding them again would do it twice.
      const acted = code < 0x20 && next === this.state && next <= State.CsiIgnore;
      this.state = next;
      if (next === State.Ground) {
        this.open = [];
        return;
      }
      if (acted || this.open.length + width > MAX_OPEN) return;
    }
    for (let i = 0; i < width; i++) this.open.push(bytes[at + i] as number);
  }
}

/** Stands for every character that is neither ASCII nor a control character. */
const PRINTABLE = 0xa0;
/** Stands for a byte that belongs to no character; xterm.js passes over it. */
const INVALID = -1;

/** How many bytes the character at this place has; 1 for an invalid byte. */
function characterLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] as number;
  const length = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 1;
  for (let i = 1; i < length; i++) {
    if (((bytes[at + i] ?? 0) & 0xc0) !== 0x80) return 1;
  }
  return length;
}

function codeOf(bytes: Uint8Array, at: number, width: number): number {
  const lead = bytes[at] as number;
  const second = bytes[at + 1] ?? 0;
  if (width === 1) return lead < 0x80 ? lead : INVALID;
  if (width === 2) return lead === 0xc2 && second < 0xa0 ? second : PRINTABLE;
  if (width === 3) {
    const point = ((lead & 0x0f) << 12) | ((second & 0x3f) << 6) | ((bytes[at + 2] ?? 0) & 0x3f);
    return point < 0x800 || (point >= 0xd800 && point <= 0xdfff) || point === 0xfeff ? INVALID : PRINTABLE;
  }
  const top = ((lead & 0x07) << 2) | ((second & 0x30) >> 4);
  return top < 0x01 || top > 0x10 ? INVALID : PRINTABLE;
}

/** The state that a character opens from any other: ESC and the C1 introducers. */
function opener(code: number): State | undefined {
  switch (code) {
    case 0x1b:
      return State.Escape;
    case 0x90:
      return State.DcsEntry;
    case 0x98:
    case 0x9e:
    case 0x9f:
      return State.IgnoredString;
    case 0x9b:
      return State.CsiEntry;
    case 0x9d:
      return State.Osc;
    default:
      return undefined;
  }
}

function transition(state: State, code: number): State {
  if (code === INVALID) return state;
  if (code === 0x18 || code === 0x1a || (code >= 0x80 && code < PRINTABLE)) return State.Ground;
  const control = code < 0x20 || code === 0x7f;
  const intermediate = code >= 0x20 && code < 0x30;
  const parameter = code >= 0x30 && code < 0x3c;
  const marker = code >= 0x3c && code < 0x40;
  const final = code >= 0x40 && code < 0x7f;
  switch (state) {
    case State.Ground:
      return State.Ground;
    case State.Escape:
      if (control) return state;
      if (intermediate) return State.EscapeIntermediate;
      return afterEscape(code);
    case State.EscapeIntermediate:
      return control || intermediate ? state : State.Ground;
    case State.CsiEntry:
      if (control) return state;
      if (intermediate) return State.CsiIntermediate;
      return parameter || marker ? State.CsiParam : State.Ground;
    case State.CsiParam:
      if (control || parameter) return state;
      if (intermediate) return State.CsiIntermediate;
      return marker ? State.CsiIgnore : State.Ground;
    case State.CsiIntermediate:
      if (control || intermediate) return state;
      return parameter || marker ? State.CsiIgnore : State.Ground;
    case State.CsiIgnore:
      return final ? State.Ground : state;
    case State.IgnoredString:
      return code === PRINTABLE ? State.Ground : state;
    case State.Osc:
      return code === 0x07 ? State.Ground : state;
    case State.DcsEntry:
      if (control) return state;
      if (intermediate) return State.DcsIntermediate;
      if (parameter || marker) return State.DcsParam;
      return final ? State.DcsPassthrough : State.Ground;
    case State.DcsParam:
      if (control || parameter) return state;
      if (intermediate) return State.DcsIntermediate;
      if (marker) return State.DcsIgnore;
      return final ? State.DcsPassthrough : State.Ground;
    case State.DcsIntermediate:
      if (control || intermediate) return state;
      if (parameter || marker) return State.DcsIgnore;
      return final ? State.DcsPassthrough : State.Ground;
    case State.DcsIgnore:
    case State.DcsPassthrough:
      return state;
  }
}

function afterEscape(code: number): State {
  switch (code) {
    case 0x5b:
      return State.CsiEntry;
    case 0x5d:
      return State.Osc;
    case 0x50:
      return State.DcsEntry;
    case 0x58:
    case 0x5e:
    case 0x5f:
      return State.IgnoredString;
    default:
      return State.Ground;
  }
}
