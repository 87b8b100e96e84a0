import { expect, test } from 'vitest';
import * as protocol from '../src/protocol';

const message = (tag: number, json: unknown) => {
  const body = new TextEncoder().encode(JSON.stringify(json));
  return Uint8Array.of(tag, ...body).buffer;
};

test('client messages have the bytes that the protocol states', () => {
  expect([...protocol.encodeInput(Uint8Array.of(3))]).toEqual([0x02, 3]);
  expect([...protocol.encodeAck(0x1_0000_0203)]).toEqual([0x03, 0, 0, 0, 1, 0, 0, 2, 3]);
  expect([...protocol.encodeResize({ cols: 258, rows: 24, width: 640, height: 384 })]).toEqual([
    0x04, 1, 2, 0, 24, 2, 128, 1, 128,
  ]);
  expect([...protocol.encodeEnd()]).toEqual([0x06]);
  const hello = protocol.encodeHello({ cols: 80, rows: 24, width: 0, height: 0 }, { token: '0f', received: 5 });
  expect(hello[0]).toBe(0x01);
  expect(JSON.parse(new TextDecoder().decode(hello.subarray(1)))).toEqual({
    cols: 80,
    rows: 24,
    width: 0,
    height: 0,
    resume: { token: '0f', received: 5 },
  });
  expect(new TextDecoder().decode(protocol.encodeAnswer(7).subarray(1))).toBe('{"id":7}');
  expect(new TextDecoder().decode(protocol.encodeAnswer(7, ['x']).subarray(1))).toBe('{"id":7,"answers":["x"]}');
});

test('output is a view of the frame, not a copy', () => {
  const frame = Uint8Array.of(0x82, 104, 105);
  const decoded = protocol.decode(frame.buffer);
  expect(decoded).toMatchObject({ type: 'output' });
  if (decoded.type === 'output') {
    expect([...decoded.bytes]).toEqual([104, 105]);
    expect(decoded.bytes.buffer).toBe(frame.buffer);
  }
});

test('an acknowledgement is a big-endian position', () => {
  expect(protocol.decode(Uint8Array.of(0x83, 0, 0, 0, 1, 0, 0, 0, 2).buffer)).toEqual({
    type: 'ack',
    position: 0x1_0000_0002,
  });
});

test('unknown members are ignored, optional ones may be missing', () => {
  expect(
    protocol.decode(message(0x87, { reason: 'exit', code: 1000, status: 3, message: 'Over.', later: true })),
  ).toEqual({ type: 'ended', ended: { reason: 'exit', code: 1000, status: 3, message: 'Over.' } });
  expect(protocol.decode(message(0x84, { state: 'connected' }))).toEqual({
    type: 'state',
    state: 'connected',
    step: '',
  });
});

test('what the protocol does not know is refused', () => {
  for (const frame of [
    new ArrayBuffer(0),
    Uint8Array.of(0x42).buffer,
    Uint8Array.of(0x83, 1).buffer,
    Uint8Array.of(0x81, 0xff).buffer,
    message(0x81, { session: 'a' }),
    message(0x85, { id: 1, prompts: 'none' }),
    message(0x86, []),
  ]) {
    expect(() => protocol.decode(frame)).toThrow(protocol.ProtocolError);
  }
});
