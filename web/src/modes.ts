// Remembers terminal modes that the serialize addon leaves out, so that a reload brings them back, too.

import type { IFunctionIdentifier, Terminal } from '@xterm/xterm';

/** Mouse encodings that xterm.js knows: SGR, and SGR in pixels. */
const ENCODINGS = [1006, 1016];

type Region = readonly [top: number, bottom: number];

/** Listens to the parser without changing what it does. */
export class ModeTracker {
  private cursorHidden = false;
  private encoding: number | undefined;
  private cursorShape = 0;
  private region: Region | undefined;
  /** The character set designated as G0: `B` for ASCII, `0` for line drawing. */
  private charset = 'B';

  constructor(private readonly terminal: Terminal) {
    this.on({ prefix: '?', final: 'h' }, (params) => this.setModes(params, true));
    this.on({ prefix: '?', final: 'l' }, (params) => this.setModes(params, false));
    this.on({ intermediates: ' ', final: 'q' }, (params) => {
      this.cursorShape = params[0] ?? 0;
    });
    this.on({ final: 'r' }, (params) => {
      this.region = [params[0] || 1, params[1] || terminal.rows];
    });
    this.on({ intermediates: '!', final: 'p' }, () => {
      this.cursorHidden = false;
      this.region = undefined;
      this.charset = 'B';
    });
    for (const final of ['B', '0']) {
      terminal.parser.registerEscHandler({ intermediates: '(', final }, () => {
        this.charset = final;
        return false;
      });
    }
    terminal.parser.registerEscHandler({ final: 'c' }, () => {
      this.reset();
      return false;
    });
    // A scroll region belongs to one buffer and one size.
    terminal.buffer.onBufferChange(() => {
      this.region = undefined;
    });
    terminal.onResize(() => {
      this.region = undefined;
    });
  }

  /** Everything is as in a new terminal. */
  reset(): void {
    this.cursorHidden = false;
    this.encoding = undefined;
    this.cursorShape = 0;
    this.region = undefined;
    this.charset = 'B';
  }

  /** Sequences that restore the modes; to be written after what the serialize addon gave. */
  serialize(): string {
    const { buffer, modes } = this.terminal;
    const { cursorX, cursorY } = buffer.active;
    const region = this.region ? `\x1b[${this.region.join(';')}r` : '';
    // Setting a region or origin mode moves the cursor home; in origin mode, rows count from the region's first.
    const top = modes.originMode ? (this.region?.[0] ?? 1) : 1;
    const cursor = region || modes.originMode ? `\x1b[${cursorY + 2 - top};${cursorX + 1}H` : '';
    return (
      region +
      cursor +
      (this.cursorHidden ? '\x1b[?25l' : '') +
      (this.encoding === undefined ? '' : `\x1b[?${this.encoding}h`) +
      (this.cursorShape === 0 ? '' : `\x1b[${this.cursorShape} q`) +
      (this.charset === 'B' ? '' : `\x1b(${this.charset}`)
    );
  }

  private on(id: IFunctionIdentifier, listener: (params: number[]) => void): void {
    this.terminal.parser.registerCsiHandler(id, (params) => {
      listener(params.flat());
      return false;
    });
  }

  private setModes(modes: number[], on: boolean): void {
    for (const mode of modes) {
      if (mode === 25) this.cursorHidden = !on;
      else if (ENCODINGS.includes(mode)) this.encoding = on ? mode : undefined;
    }
  }
}
