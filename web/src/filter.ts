// Which shells a search finds.

import type { Shell } from './gateway';

/** Whether a shell has all words of the search in its name, namespace or target, and is in the namespace (any, if empty). */
export function matches(shell: Shell, search: string, namespace: string): boolean {
  if (namespace !== '' && shell.namespace !== namespace) return false;
  const text = `${shell.namespace}/${shell.name} ${shell.target}`.toLowerCase();
  const words = search.toLowerCase().split(/\s+/);
  return words.every((word) => text.includes(word));
}

/** The namespaces of the shells, each once, in order. */
export function namespacesOf(shells: readonly Shell[]): readonly string[] {
  return [...new Set(shells.map((shell) => shell.namespace))].sort();
}
