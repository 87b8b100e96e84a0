// Waits for conditions, each with a deadline; nothing here waits for a time.

import { setTimeout as pause } from 'node:timers/promises';

/**
 * How long a condition may take before a test fails, in ms: a Secret that is gone ends sessions within 40 s, and machines that run tests
 * are slow at times.
 */
const PATIENCE = 60_000;

/**
 * Waits until `condition` gives something true, and returns it. `what` says what was waited for, as text or a function;
 * `patience` is how long that may take, in ms.
 */
export async function until(what, condition, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline)
      throw new Error(`waited in vain until ${typeof what === 'function' ? await what() : what}`);
    await pause(20);
  }
}
