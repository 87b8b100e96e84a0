// Feeds output to the terminal, and knows at which byte of the session the terminal stands.

import type { Terminal } from '@xterm/xterm';
import { GroundScanner } from './ground';
import { Utf8Cutter } from './utf8';

/** Ends any sequence and any program's mode, keeps what is on the screen, and goes on below it. */
const CLEAN_UP =
  '\x18\x1b[?1049l\x1b[!p\x1b[0m\x1b(B\x0f' +
  '\x1b[?1;9;66;1000;1002;1003;1004;1006;1016;2004;2026l\x1b[?7;25h\x1b[0 q\x1b[J\r\n\x1b[2m— new session —\x1b[22m\r\n';

/** Ends any sequence, forgets everything, and says so. */
const START_OVER = '\x18\x1bc\x1b[2m— earlier output is gone —\x1b[22m\r\n';

/** Ends any sequence and forgets everything. */
const WIPE = '\x18\x1bc';

/** The output stream of one session after another. */
export class Output {
  private cutter = new Utf8Cutter();
  private scanner = new GroundScanner();

  constructor(private readonly terminal: Terminal) {}

  /** Writes output; `parsed` is told of each piece, in order, once it took effect. */
  write(bytes: Uint8Array<ArrayBuffer>, parsed: (count: number) => void): void {
    const scanner = this.scanner;
    for (const piece of this.cutter.cut(bytes)) {
      this.terminal.write(piece, () => {
        scanner.scan(piece);
        parsed(piece.length);
      });
    }
  }

  /** The bytes of a control sequence that the terminal is in the middle of. */
  get tail(): Uint8Array<ArrayBuffer> {
    return this.scanner.tail;
  }

  /** Draws the screen as it was before a reload; `drawn` is called before anything is written after it. */
  restore(screen: string, tail: Uint8Array<ArrayBuffer>, drawn: () => void): void {
    this.terminal.write(screen, drawn);
    this.write(tail, () => {});
  }

  /** Leaves nothing to see. */
  wipe(): void {
    this.begin(WIPE);
  }

  /** A new session begins on the same terminal. */
  newSession(): void {
    this.begin(CLEAN_UP);
  }

  /** The session goes on at a later byte than the terminal stands at. */
  skip(): void {
    this.begin(START_OVER);
  }

  private begin(sequence: string): void {
    this.cutter = new Utf8Cutter();
    this.scanner = new GroundScanner();
    this.terminal.write(sequence);
  }
}
