// Reads what a terminal of xterm.js shows. Each function stands alone, so that it can be sent into a page as well.

/** The last `count` rows down to the last that is not empty, as lines: wrapped rows joined, without spaces at their ends. */
export function linesOf(terminal, count) {
  const buffer = terminal.buffer.active;
  const lines = [];
  for (let y = Math.max(0, buffer.length - count); y < buffer.length; y++) {
    const row = buffer.getLine(y);
    const text = row.translateToString();
    if (row.isWrapped && lines.length > 0) lines[lines.length - 1] += text;
    else lines.push(text);
  }
  const trimmed = lines.map((line) => line.trimEnd());
  return trimmed.slice(0, trimmed.findLastIndex((line) => line !== '') + 1);
}

/** The screen, with colours (mode:value) and styles written between the texts that have them, and where the cursor is. */
export function screenOf(terminal) {
  const buffer = terminal.buffer.active;
  const rows = [];
  for (let y = 0; y < terminal.rows; y++) {
    const line = buffer.getLine(buffer.baseY + y);
    let row = '';
    let before = '';
    for (let x = 0; x < terminal.cols; x++) {
      const cell = line.getCell(x);
      if (cell.getWidth() === 0) continue;
      const colour = (mode, value) => (mode === 0 ? '' : `${mode >> 24}:${value.toString(16)}`);
      const flags = ['Bold', 'Italic', 'Underline', 'Inverse', 'Dim'].filter((flag) => cell[`is${flag}`]() !== 0);
      const foreground = colour(cell.getFgColorMode(), cell.getFgColor());
      const background = colour(cell.getBgColorMode(), cell.getBgColor());
      const now = [foreground, background && `on ${background}`, ...flags].filter(Boolean).join(' ');
      if (now !== before) row += `⟨${now}⟩`;
      before = now;
      row += cell.getChars() || ' ';
    }
    rows.push(row.trimEnd());
  }
  return { rows, cursor: [buffer.cursorX, buffer.cursorY], buffer: buffer.type };
}

/** An expression that matches this text; expressions stay what they are. */
export function matching(text) {
  return typeof text === 'string' ? new RegExp(text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')) : text;
}
