import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Connection, type Kept } from '../src/connection';
import type { Status } from '../src/status';
import { FakeGateway, SIZE } from './fake_gateway';

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(1);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A page: collects what the connection tells it, and parses output when told to. */
class FakePage {
  status: Status = { kind: 'opening', resuming: false };
  screen: number[] = [];
  unparsed: number[] = [];
  prompts: number[] = [];
  lost = 0;
  verdict: Status | undefined;
  connection: Connection;

  constructor(gateway: FakeGateway, kept?: Kept, screen: number[] = []) {
    this.screen = screen;
    this.connection = new Connection(
      {
        open: () => gateway.open(),
        diagnose: async () => this.verdict,
        onStatus: (status) => {
          this.status = status;
        },
        onWelcome: (_, lost) => {
          if (lost) this.lost++;
        },
        onOutput: (bytes) => {
          for (const byte of bytes) this.unparsed.push(byte);
        },
        onPrompt: (prompt) => this.prompts.push(prompt.id),
        onNotice: () => {},
      },
      SIZE,
    );
    this.connection.start(kept);
  }

  parse(count: number): void {
    const parsed = this.unparsed.splice(0, count);
    for (const byte of parsed) this.screen.push(byte);
    this.connection.parsed(parsed.length);
  }
}

const bytes = (...values: number[]) => Uint8Array.from(values);

test('says hello with the size, and is connected when the gateway says so', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  expect(gateway.hellos).toEqual([SIZE]);
  gateway.state({ state: 'connecting', step: 'dial' });
  expect(page.status).toEqual({ kind: 'connecting', step: 'dial' });
  gateway.state({ state: 'connected' });
  expect(page.status).toEqual({ kind: 'connected', resumed: false });
});

test('acknowledges what is parsed, not what is received', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.print(new Uint8Array(60_000));
  gateway.deliver();
  vi.advanceTimersByTime(1000);
  expect(gateway.acked).toBe(0);
  page.parse(32 * 1024);
  expect(gateway.acked).toBe(32 * 1024);
  page.parse(10);
  vi.advanceTimersByTime(1000);
  expect(gateway.acked).toBe(32 * 1024 + 10);
});

test('a terminal that is ahead of a new connection acknowledges no more than that has brought', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.print(new Uint8Array(100_000));
  gateway.deliver();
  gateway.lose(1006);
  vi.advanceTimersByTime(0);
  gateway.accept();
  page.parse(100_000);
  vi.advanceTimersByTime(1000);
  expect(gateway.misuse).toBeUndefined();
  gateway.deliver();
  vi.advanceTimersByTime(1000);
  expect(gateway.acked).toBe(100_000);
  expect(page.screen.length).toBe(100_000);
});

test('a reload finds what the terminal had not parsed, also after a reconnect', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.print(bytes(1, 2, 3));
  gateway.deliver();
  page.parse(1);
  gateway.lose(1006);
  vi.advanceTimersByTime(0);
  gateway.accept();
  const kept = page.connection.keep();
  vi.clearAllTimers();
  const reloaded = new FakePage(gateway, kept, page.screen);
  gateway.accept();
  gateway.deliver();
  reloaded.parse(10);
  expect(reloaded.screen).toEqual([1, 2, 3]);
});

test('keeps what is typed while the connection is away, and sends it once', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  page.connection.send(bytes(1));
  gateway.lose(1006);
  page.connection.send(bytes(2, 3));
  vi.advanceTimersByTime(0);
  gateway.accept();
  expect(gateway.typed).toEqual([1, 2, 3]);
});

test('retries at once, then ever later, and at once when asked to', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.lose(1006);
  vi.advanceTimersByTime(0);
  expect(gateway.sockets).toBe(2);
  gateway.accept();
  gateway.lose(1012);
  expect(page.status).toEqual({ kind: 'waiting', resuming: true, retryAt: Date.now() + 1000 });
  vi.advanceTimersByTime(999);
  expect(gateway.sockets).toBe(2);
  vi.advanceTimersByTime(1);
  expect(gateway.sockets).toBe(3);
  gateway.accept();
  gateway.lose(1001);
  expect(page.status).toMatchObject({ kind: 'waiting', retryAt: Date.now() + 2000 });
  page.connection.reconnect();
  expect(gateway.sockets).toBe(4);
});

test('after a good while, the first retry is immediate again', () => {
  const gateway = new FakeGateway();
  new FakePage(gateway);
  gateway.accept();
  gateway.lose(1006);
  vi.advanceTimersByTime(0);
  gateway.accept();
  vi.advanceTimersByTime(60_000);
  gateway.lose(1006);
  vi.advanceTimersByTime(0);
  expect(gateway.sockets).toBe(3);
});

test('a try that leads nowhere is given up', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  vi.advanceTimersByTime(15_001);
  expect(gateway.sockets).toBe(2);
  expect(page.status).toEqual({ kind: 'opening', resuming: false });
});

test('a WebSocket that does not open is diagnosed', async () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  page.verdict = { kind: 'login' };
  gateway.lose(1006);
  await vi.advanceTimersByTimeAsync(0);
  expect(page.status).toEqual({ kind: 'login' });
  expect(gateway.sockets).toBe(1);
});

test('an ended session is not tried again', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.end({ reason: 'exit', code: 1000, status: 3, message: 'The shell ended with status 3.' });
  vi.advanceTimersByTime(100_000);
  expect(page.status).toMatchObject({ kind: 'ended', ended: { status: 3 } });
  expect(gateway.sockets).toBe(1);
  expect(page.connection.keep()).toBeUndefined();
});

test.each([4120, 4302, 1002, 1009])('close %i ends it, in the words of the close where there are no others', (code) => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.lose(code, 'some-reason');
  vi.advanceTimersByTime(100_000);
  expect(page.status).toMatchObject({ kind: 'ended', ended: { code, reason: 'some-reason' } });
  expect(gateway.sockets).toBe(1);
});

test('a session taken over can be taken back', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.lose(4206);
  vi.advanceTimersByTime(100_000);
  expect(page.status).toEqual({ kind: 'taken-over' });
  expect(gateway.sockets).toBe(1);
  page.connection.reconnect();
  gateway.accept();
  expect(gateway.hellos[1]).toMatchObject({ resume: { token: gateway.firstToken } });
});

test.each([
  ['in words', (gateway: FakeGateway) => gateway.end({ reason: 'unknown-session', code: 4301, message: 'no' })],
  ['by its code', (gateway: FakeGateway) => gateway.lose(4301)],
])('a session that the gateway does not know any more is gone: told %s', (_, tell) => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.lose(1006);
  vi.advanceTimersByTime(0);
  tell(gateway);
  expect(page.status).toEqual({ kind: 'gone' });
});

test('sizes are told at once, or at the next hello', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  page.connection.resize({ ...SIZE, cols: 100 });
  expect(gateway.sizes).toEqual([{ ...SIZE, cols: 100 }]);
  gateway.lose(1006);
  page.connection.resize({ ...SIZE, cols: 90 });
  page.connection.resize({ ...SIZE, cols: 120 });
  vi.advanceTimersByTime(0);
  gateway.accept();
  expect(gateway.hellos[1]).toMatchObject({ cols: 120 });
});

test('an answer is given once, also when the connection broke meanwhile', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.ask(7);
  gateway.lose(1006);
  page.connection.answer(7, ['123']);
  vi.advanceTimersByTime(0);
  gateway.accept();
  expect(gateway.answers).toEqual([]);
  gateway.ask(7);
  expect(gateway.answers).toEqual([{ id: 7, answers: ['123'] }]);
  expect(page.prompts).toEqual([7]);
});

test('output that is gone is said', () => {
  const gateway = new FakeGateway();
  gateway.print(bytes(1, 2, 3, 4, 5));
  gateway.forgetOutput(3);
  const page = new FakePage(gateway, { token: gateway.firstToken, received: 1, input: 0, unacknowledged: bytes() });
  gateway.accept();
  gateway.deliver();
  page.parse(10);
  expect(page.lost).toBe(1);
  expect(page.screen).toEqual([4, 5]);
  expect(page.connection.position).toBe(5);
});

test('a connection that swallows input is replaced, but only once while a program just does not read', () => {
  const gateway = new FakeGateway();
  const page = new FakePage(gateway);
  gateway.accept();
  gateway.acksInput = false;
  page.connection.send(bytes(1));
  vi.advanceTimersByTime(20_000);
  expect(gateway.sockets).toBe(2);
  gateway.accept();
  vi.advanceTimersByTime(200_000);
  expect(gateway.sockets).toBe(2);
});

test('whatever breaks, both streams arrive whole and in order', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('print' as const), size: fc.integer({ min: 1, max: 60_000 }) }),
    fc.record({ do: fc.constant('type' as const), size: fc.integer({ min: 1, max: 5_000 }) }),
    fc.record({ do: fc.constant('deliver' as const), size: fc.integer({ min: 1, max: 70_000 }) }),
    fc.record({ do: fc.constant('parse' as const), size: fc.integer({ min: 1, max: 70_000 }) }),
    fc.record({ do: fc.constant('wait' as const), size: fc.integer({ min: 0, max: 100 }) }),
    fc.record({ do: fc.constantFrom('lose', 'swallow', 'reload'), size: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const gateway = new FakeGateway();
      let page = new FakePage(gateway);
      let printed = 0;
      let typed = 0;
      const settle = () => {
        page.connection.reconnect();
        gateway.accept();
      };
      gateway.accept();
      for (const { do: what, size } of steps) {
        if (what === 'print') gateway.print(Uint8Array.from({ length: size }, () => printed++ & 0xff));
        else if (what === 'type') page.connection.send(Uint8Array.from({ length: size }, () => typed++ & 0xff));
        else if (what === 'deliver') gateway.deliver(size);
        else if (what === 'parse') page.parse(size);
        else if (what === 'wait') vi.advanceTimersByTime(size);
        else if (what === 'swallow') gateway.swallow();
        else {
          gateway.lose(1006);
          if (what === 'reload') {
            vi.clearAllTimers();
            page = new FakePage(gateway, page.connection.keep(), page.screen);
          }
          settle();
        }
        expect(gateway.misuse).toBeUndefined();
      }
      gateway.lose(1006);
      settle();
      for (let round = 0; round < 100 && page.screen.length < printed; round++) {
        gateway.deliver();
        page.parse(1_000_000);
        vi.advanceTimersByTime(100);
      }
      expect(gateway.misuse).toBeUndefined();
      expect(page.screen.length).toBe(printed);
      expect(page.screen.every((byte, at) => byte === (at & 0xff))).toBe(true);
      expect(gateway.typed.length).toBe(typed);
      expect(gateway.typed.every((byte, at) => byte === (at & 0xff))).toBe(true);
      expect(page.connection.position).toBe(printed);
      expect(page.lost).toBe(0);
    }),
    { numRuns: 60 },
  );
});
