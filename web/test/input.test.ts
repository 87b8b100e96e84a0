import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InputQueue, MAX_PENDING } from '../src/input';

const bytes = (...values: number[]) => Uint8Array.from(values);

test('sends no more than the window beyond the acknowledged', () => {
  const queue = new InputQueue();
  queue.push(bytes(1, 2, 3, 4, 5));
  expect(queue.next(3)).toEqual(bytes(1, 2, 3));
  expect(queue.next(3)).toBeUndefined();
  queue.ack(2);
  expect(queue.next(3)).toEqual(bytes(4, 5));
  expect(queue.pending).toBe(3);
});

test('a queue that is full refuses input whole', () => {
  const queue = new InputQueue();
  expect(queue.push(new Uint8Array(MAX_PENDING))).toBe(true);
  expect(queue.push(bytes(1))).toBe(false);
  expect(queue.pending).toBe(MAX_PENDING);
});

test('what was kept over a reload continues at its position', () => {
  const queue = new InputQueue(10, bytes(1, 2, 3));
  queue.rewind(12);
  expect(queue.next(100)).toEqual(bytes(3));
});

test('a gateway that received more than the page remembers sets the position', () => {
  const queue = new InputQueue(10, bytes(1));
  queue.rewind(20);
  expect(queue.pending).toBe(0);
  queue.push(bytes(9));
  expect(queue.next(100)).toEqual(bytes(9));
  queue.ack(21);
  expect(queue.position).toBe(21);
});

test('whatever is lost on the way, the gateway receives each byte once and in order', () => {
  const action = fc.oneof(
    fc.record({ do: fc.constant('push' as const), size: fc.integer({ min: 0, max: 50 }) }),
    fc.record({ do: fc.constant('send' as const), lost: fc.boolean() }),
    fc.record({ do: fc.constant('ack' as const) }),
    fc.record({ do: fc.constant('reconnect' as const) }),
    fc.record({ do: fc.constant('reload' as const) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), fc.integer({ min: 1, max: 40 }), (actions, window) => {
      let queue = new InputQueue();
      let typed = 0;
      let broken = false;
      const received: number[] = [];
      const reconnect = () => {
        queue.rewind(received.length);
        broken = false;
      };
      const drain = () => {
        for (let sent = queue.next(window); sent; sent = queue.next(window)) received.push(...sent);
        queue.ack(received.length);
      };
      for (const step of actions) {
        if (step.do === 'push') {
          queue.push(Uint8Array.from({ length: step.size }, () => typed++ & 0xff));
        } else if (step.do === 'send') {
          const sent = queue.next(window);
          if (step.lost) broken = true;
          if (sent && !broken) received.push(...sent);
        } else if (step.do === 'ack' && !broken) {
          queue.ack(received.length);
        } else if (step.do === 'reconnect') {
          reconnect();
        } else if (step.do === 'reload') {
          queue = new InputQueue(queue.position, queue.keep(MAX_PENDING));
          reconnect();
        }
      }
      reconnect();
      while (queue.pending > 0) drain();
      expect(received).toEqual(Array.from({ length: typed }, (_, i) => i & 0xff));
    }),
  );
});
