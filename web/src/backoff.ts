// How long to wait before the next try: at once, then 1 s, 2 s, 4 s … up to 30 s, each shortened at random.

const LONGEST = 30_000;

/** Milliseconds before try number `attempt` (from 0); `random` is in [0, 1). Pages that lost one gateway must not all return at once. */
export function retryDelay(attempt: number, random: number): number {
  if (attempt === 0) return 0;
  return Math.min(LONGEST, 1000 * 2 ** (attempt - 1)) * (0.5 + random / 2);
}
