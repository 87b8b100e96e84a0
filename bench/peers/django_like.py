"""The Django WebShell's design in miniature: an ASGI WebSocket, one paramiko channel, polled every 10 ms, text frames."""

import asyncio
import codecs
import os

import paramiko

POLL_INTERVAL = 0.01
READ_SIZE = 32 * 1024


def connect():
    """Opens a shell on the target that the environment names."""
    client = paramiko.SSHClient()
    client.load_host_keys(os.environ["TARGET_KNOWN_HOSTS"])
    client.connect(
        "127.0.0.1",
        port=int(os.environ["TARGET_PORT"]),
        username=os.environ["TARGET_USER"],
        key_filename=os.environ["TARGET_KEY"],
        allow_agent=False,
        look_for_keys=False,
    )
    return client, client.invoke_shell(term="xterm-256color", width=80, height=24)


async def pass_output(channel, send):
    """Sends what the channel has, and looks again after a while whenever it has nothing."""
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    while True:
        if channel.recv_ready():
            text = decode(channel.recv(READ_SIZE))
            if text:
                await send({"type": "websocket.send", "text": text})
        elif channel.exit_status_ready():
            await send({"type": "websocket.close"})
            return
        else:
            await asyncio.sleep(POLL_INTERVAL)


async def application(scope, receive, send):
    """One WebSocket, one shell."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    client, channel = await asyncio.to_thread(connect)
    output = asyncio.create_task(pass_output(channel, send))
    try:
        while (event := await receive())["type"] == "websocket.receive":
            channel.sendall(event["text"])
    finally:
        output.cancel()
        client.close()
