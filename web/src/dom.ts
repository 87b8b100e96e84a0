// Builds elements. Text is only ever text: nothing in the page parses a string as HTML.

type Attributes = Readonly<Record<string, string | boolean | undefined>>;

/** An element with attributes (`true` for one without a value, `false` or undefined to leave it out) and children. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A button with words. */
export function button(label: string, onClick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const element = el('button', { type: 'button', ...attributes }, label);
  element.addEventListener('click', onClick);
  return element;
}

/** The outlines of the icons: SVG paths on a 20 × 20 grid. */
const ICONS = {
  search: 'M9 3.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M13 13l4 4',
  smaller: 'M3 15l3.5-9L10 15M4.2 12h4.6M13 10.5h5',
  larger: 'M2 15l3.5-9L9 15M3.2 12h4.6M12 10.5h6M15 7.5v6',
  settings: 'M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4',
  expand: 'M3 8V3h5M17 8V3h-5M3 12v5h5M17 12v5h-5',
  bell: 'M5 14V9a5 5 0 0 1 10 0v5l1.5 1.5h-13zM8.5 17.5h3',
  muted: 'M5 14V9a5 5 0 0 1 8-4M15 9v5l1.5 1.5h-9M8.5 17.5h3M3 3l14 14',
  power: 'M10 3v7M6 5.5a6.2 6.2 0 1 0 8 0',
  up: 'M5 12l5-5l5 5',
  down: 'M5 8l5 5l5-5',
  close: 'M5 5l10 10M15 5L5 15',
} as const;

/** The name of an icon. */
export type Icon = keyof typeof ICONS;

/** An icon; it says nothing to a screen reader. */
export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon, with words for the tooltip and the screen reader. */
export function iconButton(name: Icon, label: string, onClick: () => void): HTMLButtonElement {
  const element = el('button', { type: 'button', class: 'icon', title: label, 'aria-label': label }, icon(name));
  element.addEventListener('click', onClick);
  return element;
}
