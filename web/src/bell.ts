// The bell: a short tone.

/** Bells closer together than this, in ms, are one: a program can ring thousands of times a second. */
const LEAST_GAP = 250;

/** Rings, unless it has just rung. */
export class Bell {
  private audio: AudioContext | undefined;
  private last = Number.NEGATIVE_INFINITY;

  /** Whether this bell counts; if so, with a sound where wanted and where the browser allows one. */
  ring(sound: boolean): boolean {
    const now = performance.now();
    if (now - this.last < LEAST_GAP) return false;
    this.last = now;
    // Browsers mute pages, and complain in the console, until a person has used them.
    if (sound && navigator.userActivation?.hasBeenActive) this.tone();
    return true;
  }

  private tone(): void {
    this.audio ??= new AudioContext();
    const { currentTime, destination } = this.audio;
    const gain = new GainNode(this.audio, { gain: 0.08 });
    gain.gain.exponentialRampToValueAtTime(0.001, currentTime + 0.15);
    const tone = new OscillatorNode(this.audio, { frequency: 660 });
    tone.connect(gain).connect(destination);
    tone.start();
    tone.stop(currentTime + 0.15);
  }
}
