// The search in what the terminal shows and what scrolled off it.

import type { ISearchOptions, SearchAddon } from '@xterm/addon-search';
import { el, iconButton } from './dom';

/** Marks that can be seen on the light and on the dark background. */
const MARKS: ISearchOptions = {
  decorations: {
    matchBackground: '#8a6d1f',
    matchOverviewRuler: '#c9a227',
    activeMatchBackground: '#d2641a',
    activeMatchColorOverviewRuler: '#d2641a',
  },
};

/** A small bar at the upper right, shown while searching. */
export class SearchBar {
  readonly element: HTMLElement;
  private readonly input = el('input', {
    type: 'search',
    placeholder: 'Search',
    'aria-label': 'Search the terminal',
    spellcheck: 'false',
    autocomplete: 'off',
  });
  private readonly count = el('span', { class: 'count', role: 'status', 'aria-live': 'polite' });

  constructor(
    private readonly search: SearchAddon,
    private readonly leave: () => void,
  ) {
    this.element = el(
      'div',
      { class: 'search', role: 'search', hidden: true },
      this.input,
      this.count,
      iconButton('up', 'Previous match', () => this.find(false)),
      iconButton('down', 'Next match', () => this.find(true)),
      iconButton('close', 'Close the search', () => this.close()),
    );
    this.input.addEventListener('input', () => this.find(false));
    this.element.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.close();
      else if (event.key === 'Enter' && event.target === this.input) this.find(event.shiftKey);
    });
    search.onDidChangeResults(({ resultIndex, resultCount }) => {
      if (resultCount === 0) this.count.textContent = this.input.value === '' ? '' : 'None';
      else this.count.textContent = resultIndex < 0 ? `${resultCount}` : `${resultIndex + 1} of ${resultCount}`;
    });
  }

  /** Opens it, with its text selected. */
  open(): void {
    this.element.hidden = false;
    this.input.select();
    this.input.focus();
    if (this.input.value !== '') this.find(false);
  }

  private close(): void {
    this.element.hidden = true;
    this.search.clearDecorations();
    this.leave();
  }

  /** What is newest matters most, so Enter goes upwards and Shift-Enter back. */
  private find(forwards: boolean): void {
    const text = this.input.value;
    if (text === '') {
      this.search.clearDecorations();
      this.count.textContent = '';
    } else if (forwards) this.search.findNext(text, MARKS);
    else this.search.findPrevious(text, MARKS);
  }
}
