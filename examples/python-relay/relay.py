"""A relay in Python, written from PROTOCOL.md: the core of the protocol, for the package `websockets` 10 or later and the standard library.

PORT, ARC_ENDPOINT and ARC_TOKEN are its environment. It does not have resumable sessions, routing, and policies other than `queue`.
"""

import asyncio
import http.client
import json
import os
import signal
import socket
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed

# Since version 14 the package's `serve` is another one.
from websockets.legacy.server import serve

MAX_FRAME_BYTES = 1_048_576
MAX_PENDING = 32
MAX_THREADS = 64
MAX_BAD_FRAMES = 16
HEARTBEAT = 25
SEND_TIMEOUT = 60
CLEANUP_TIMEOUT = 5
DRAIN_TIMEOUT = 5
PATH = "/ws"

CHAT_IS_LOST = {-43001, -43002, -43003, -42005}
CONTENT_EVENTS = {"", "stream", "chat", "message", "content"}


class ArcError(Exception):
    def __init__(self, code, message, details=None):
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


class InvalidFrame(Exception):
    """A frame that the relay refuses: its code, and what to tell the client."""

    def __init__(self, message, code=-32600):
        super().__init__(message)
        self.code = code


# --- ARC, over HTTP -------------------------------------------------------------------------------------------------------


class Call:
    """One request to the agent server. It blocks, so it runs in a thread."""

    def __init__(self, endpoint, token, body):
        self.endpoint, self.body = urlsplit(endpoint), body
        self.headers = {"Content-Type": "application/arc+json", "Accept": "application/arc+json, text/event-stream"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.is_aborted = False
        self.socket = None

    def abort(self):
        self.is_aborted = True
        if self.socket is not None:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def run(self, deliver):
        """The text of the answer, if it is one JSON object; None after a stream, whose events go to `deliver(name, data)`."""
        secure = self.endpoint.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self.endpoint.netloc, timeout=SEND_TIMEOUT)
        try:
            connection.connect()
            self.socket = connection.sock
            if self.is_aborted:
                raise ArcError(-41003, "The request was aborted")
            connection.request("POST", self.endpoint.path or "/", self.body, self.headers)
            response = connection.getresponse()
            if response.headers.get_content_type() == "text/event-stream":
                return self.read_events(response, deliver)
            return response.read().decode()
        except TimeoutError:
            raise ArcError(-41006, "The agent did not answer in time") from None
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            raise ArcError(-41003, f"The agent could not be reached: {error}") from None
        finally:
            connection.close()

    def read_events(self, response, deliver):
        name, data, count, is_done = "", [], 0, False
        for line in response:
            line = line.decode().rstrip("\r\n")
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif line == "" and (name or data):
                text = "\n".join(data)
                name = "done" if text == "[DONE]" else name
                is_done = is_done or name in ("done", "error")
                deliver(name, "" if text == "[DONE]" else text)
                name, data, count = "", [], count + 1
        if count == 0:
            raise ArcError(-41003, "The agent's stream has no event")
        if not is_done:
            deliver("done", "")
        return None


# --- Frames ---------------------------------------------------------------------------------------------------------------


def is_name(value):
    return isinstance(value, str) and 1 <= len(value) <= 256


def is_id(value):
    return is_name(value) or (type(value) is int and abs(value) < 2**53)


def read_frame(text):
    """The frame, and the fields that answers repeat. Raises InvalidFrame, whose `repeated` has those that are valid."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidFrame("The frame is not JSON", -32700) from None
    if not isinstance(frame, dict):
        raise InvalidFrame("The frame must be a JSON object")
    frame = {name: value for name, value in frame.items() if value is not None}
    if isinstance(frame.get("trace_id"), (int, float)) and not isinstance(frame["trace_id"], bool):
        frame["trace_id"] = json.dumps(frame["trace_id"])
    if frame.get("trace_id") == "":
        del frame["trace_id"]
    checks = {"id": is_id, "agent_id": is_name, "context_id": is_name, "trace_id": is_name}
    repeated = {name: frame[name] for name, check in checks.items() if name in frame and check(frame[name])}
    try:
        for name in checks:
            if name in frame and name not in repeated:
                raise InvalidFrame(f"{name}: must be a string of 1 to 256 characters")
        json.dumps(frame, ensure_ascii=False).encode()
        check_kind(frame)
    except UnicodeEncodeError:
        error = InvalidFrame("The frame has half of a surrogate pair")
        error.repeated = {}
        raise error from None
    except InvalidFrame as error:
        error.repeated = repeated
        raise
    return frame, repeated


def check_kind(frame):
    kind = frame.get("type", "message")
    if kind == "message":
        message = frame.get("message")
        if not isinstance(message, dict):
            raise InvalidFrame("message: must be an object")
        if not isinstance(message.get("role"), str):
            raise InvalidFrame("message.role: must be a string")
        if not isinstance(message.get("parts"), list):
            raise InvalidFrame("message.parts: must be an array")
        if not isinstance(frame.get("stream", False), bool):
            raise InvalidFrame("stream: must be a boolean")
        if not isinstance(frame.get("metadata", {}), dict):
            raise InvalidFrame("metadata: must be an object")
    elif kind == "end":
        if not isinstance(frame.get("reason", ""), str):
            raise InvalidFrame("reason: must be a string")
    elif kind == "cancel":
        if "id" not in frame:
            raise InvalidFrame("id: is required")
    elif kind != "ping":
        raise InvalidFrame("type: is unknown")
    if kind in ("message", "end") and "agent_id" not in frame:
        raise InvalidFrame("agent_id: is required")


def frame_of(kind, repeated, restarted=False, **raw):
    """A frame. `raw` is JSON text, which stays as it is."""
    text = json.dumps({"type": kind, **repeated, **({"restarted": True} if restarted else {})})
    return text[:-1] + "".join(f',"{name}":{value}' for name, value in raw.items()) + "}"


def error_frame(repeated, code, message, details=None, restarted=False):
    data = {"code": code, "message": message}
    if details is not None and code != -32603:
        data["details"] = details
    return frame_of("error", repeated, restarted, data=json.dumps(data))


def error_of(error):
    """The agent's own error, from an envelope or an event."""
    if not isinstance(error, dict):
        return ArcError(-32603, str(error))
    code = error.get("code")
    code = code if type(code) is int else -32603
    return ArcError(code, str(error.get("message", "")), error.get("details"))


# --- Sessions -------------------------------------------------------------------------------------------------------------


class Thread:
    """The conversation of one connection with one agent in one context."""

    def __init__(self, agent_id):
        self.agent_id = agent_id
        self.chat_id = str(uuid.uuid4())
        self.is_started = False
        self.has_answered = False
        self.turn = asyncio.Lock()
        self.sends = set()


class Session:
    def __init__(self, relay, socket):
        self.relay, self.socket = relay, socket
        self.threads, self.sends, self.endings = {}, {}, set()
        self.bad_frames = 0

    async def run(self):
        try:
            async for text in self.socket:
                if isinstance(text, bytes):
                    await self.socket.close(1003, "Binary frames are not accepted")
                    break
                await self.handle(text)
                if self.bad_frames >= MAX_BAD_FRAMES:
                    await self.cancel(self.sends)
                    await self.socket.close(4429, "Too many invalid frames")
        except ConnectionClosed:
            pass
        finally:
            await self.cancel(self.sends)
            endings = [self.end_chat(thread, None) for thread in self.threads.values() if thread.is_started]
            await asyncio.gather(*endings, *self.endings, return_exceptions=True)

    async def send_frame(self, text):
        try:
            await self.socket.send(text)
        except ConnectionClosed:
            pass

    async def handle(self, text):
        repeated = {}
        try:
            frame, repeated = read_frame(text)
            kind = frame.get("type", "message")
            if kind == "ping":
                await self.send_frame(frame_of("pong", {"id": frame["id"]} if "id" in frame else {}))
            elif kind == "cancel":
                await self.cancel([task for task, send in self.sends.items() if send["repeated"].get("id") == frame["id"]])
            elif kind == "end":
                await self.end(frame, repeated)
            else:
                self.send(frame, repeated)
            self.bad_frames = 0
        except InvalidFrame as error:
            self.bad_frames += 1
            await self.send_frame(error_frame(getattr(error, "repeated", repeated), error.code, str(error)))

    def send(self, frame, repeated):
        if len(self.sends) + len(self.endings) >= MAX_PENDING:
            raise InvalidFrame("Too many pending messages", -44007)
        key = (frame["agent_id"], frame.get("context_id"))
        if key not in self.threads and len(self.threads) >= MAX_THREADS:
            raise InvalidFrame("Too many threads", -44007)
        thread = self.threads.setdefault(key, Thread(frame["agent_id"]))
        send = {"frame": frame, "repeated": repeated, "thread": thread, "restarted": False, "delivered": False}
        task = asyncio.ensure_future(self.deliver(send, key))
        self.sends[task] = send
        thread.sends.add(task)
        task.add_done_callback(lambda _task: (self.sends.pop(task, None), thread.sends.discard(task)))

    async def cancel(self, tasks):
        tasks = list(tasks)
        for task in tasks:
            send = self.sends[task]
            task.cancel()
            await self.send_frame(frame_of("cancelled", send["repeated"], send["restarted"]))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def deliver(self, send, key):
        thread = send["thread"]
        async with thread.turn:
            is_first = not thread.has_answered
            try:
                await self.exchange(send)
            except ArcError as error:
                await self.send_frame(error_frame(send["repeated"], error.code, error.message, error.details, send["restarted"]))
            except asyncio.CancelledError:
                # A first message that was cancelled before any part of its answer ends the thread.
                if is_first and not send["delivered"] and self.threads.get(key) is thread:
                    del self.threads[key]
                    if thread.is_started:
                        self.begin_ending(self.end_chat(thread, None))
                raise

    async def exchange(self, send):
        """Sends a message, and once more in a new chat if the agent no longer has the old one."""
        thread, frame, repeated = send["thread"], send["frame"], send["repeated"]
        while True:
            was_started = thread.has_answered
            try:
                await self.request(send)
                return
            except ArcError as error:
                if error.code not in CHAT_IS_LOST or not was_started:
                    raise
                thread.chat_id, thread.is_started, thread.has_answered = str(uuid.uuid4()), False, False
                if send["restarted"] or send["delivered"]:
                    raise
                send["restarted"] = True

    async def request(self, send):
        thread, frame, repeated = send["thread"], send["frame"], send["repeated"]
        params = {"chatId": thread.chat_id}
        if thread.has_answered:
            method, params["message"] = "chat.message", frame["message"]
        else:
            method, params["initialMessage"] = "chat.start", frame["message"]
            if "metadata" in frame:
                params["metadata"] = frame["metadata"]
        if frame.get("stream"):
            params["stream"] = True
        thread.is_started = True
        text = await self.relay.call(method, thread.agent_id, params, frame.get("trace_id"), lambda *event: self.event(send, *event))
        if text is None:
            return
        result = envelope_of(text)
        self.name_chat(thread, result.get("chat"))
        await self.send_frame(frame_of("response", repeated, send["restarted"], response=text))

    async def event(self, send, name, text):
        try:
            data = json.loads(text) if text else None
        except ValueError:
            data, text = text, json.dumps(text)
        if name == "error":
            raise error_of(data.get("error", data) if isinstance(data, dict) else data)
        if name in CONTENT_EVENTS or name == "done":
            self.name_chat(send["thread"], data.get("chat", data) if isinstance(data, dict) else None)
        if name == "done":
            await self.send_frame(frame_of("done", send["repeated"], send["restarted"], data=text or "null"))
            return
        send["delivered"] = True
        if name in CONTENT_EVENTS:
            await self.send_frame(frame_of("content", send["repeated"], data=text or "null"))
        elif name == "metadata":
            await self.send_frame(frame_of("metadata", send["repeated"], data=text or "null"))
        else:
            await self.send_frame(frame_of("event", send["repeated"], event=json.dumps(name), data=text or "null"))

    def name_chat(self, thread, chat):
        """The agent names the chat in its first answer, and may have chosen another id than the relay."""
        if not thread.has_answered and isinstance(chat, dict) and isinstance(chat.get("chatId"), str):
            thread.chat_id = chat["chatId"]
        thread.has_answered = True

    async def end(self, frame, repeated):
        thread = self.threads.pop((frame["agent_id"], frame.get("context_id")), None)
        if thread is not None:
            await self.cancel(thread.sends)
        self.begin_ending(self.confirm_end(thread, frame, repeated))

    def begin_ending(self, ending):
        task = asyncio.ensure_future(ending)
        self.endings.add(task)
        task.add_done_callback(self.endings.discard)

    async def confirm_end(self, thread, frame, repeated):
        try:
            text = await self.end_chat(thread, frame) if thread is not None and thread.is_started else None
            await self.send_frame(frame_of("ended", repeated, **({} if text is None else {"response": text})))
        except ArcError as error:
            await self.send_frame(error_frame(repeated, error.code, error.message, error.details))

    async def end_chat(self, thread, frame):
        frame = frame or {}
        params = {"chatId": thread.chat_id, **({"reason": frame["reason"]} if "reason" in frame else {})}
        call = self.relay.call("chat.end", thread.agent_id, params, frame.get("trace_id"), None)
        try:
            text = await asyncio.wait_for(call, CLEANUP_TIMEOUT)
            envelope_of(text or "{}")
            return text
        except asyncio.TimeoutError:
            raise ArcError(-41006, "The agent did not confirm the end") from None
        except ArcError as error:
            if error.code in CHAT_IS_LOST or error.code == -32601:
                return None
            raise


def envelope_of(text):
    """The result of an agent's answer. Raises its error."""
    try:
        envelope = json.loads(text)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict):
        raise ArcError(-41003, "The agent's answer is not an ARC answer")
    if envelope.get("error") is not None:
        raise error_of(envelope["error"])
    if not isinstance(envelope.get("result"), dict):
        raise ArcError(-41003, "The agent's answer is not an ARC answer")
    return envelope["result"]


# --- The server -----------------------------------------------------------------------------------------------------------


class Relay:
    def __init__(self, endpoint, token):
        self.endpoint, self.token = endpoint, token
        self.sessions = set()
        self.is_closing = False
        self.threads = ThreadPoolExecutor(max_workers=256)

    async def call(self, method, agent_id, params, trace_id, on_event):
        loop = asyncio.get_running_loop()
        request = {"arc": "1.0", "id": str(uuid.uuid4()), "method": method, "requestAgent": "relay", "targetAgent": agent_id}
        if trace_id is not None:
            request["traceId"] = trace_id
        body = json.dumps({**request, "params": params}, ensure_ascii=False).encode()
        call = Call(self.endpoint, self.token, body)

        def deliver(name, text):
            # The thread waits until the event is sent: an agent is not read faster than its client.
            if call.is_aborted or on_event is None:
                return
            asyncio.run_coroutine_threadsafe(on_event(name, text), loop).result()

        try:
            return await loop.run_in_executor(self.threads, call.run, deliver)
        except asyncio.CancelledError:
            call.abort()
            raise

    async def accept(self, socket):
        session = Session(self, socket)
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)

    async def refuse(self, path, headers):
        """Before the upgrade: None accepts it."""
        if self.is_closing:
            return HTTPStatus.SERVICE_UNAVAILABLE, [], b"The server is shutting down"
        if path.partition("?")[0].rstrip("/") != PATH:
            return HTTPStatus.NOT_FOUND, [], b""
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("Host"):
            return HTTPStatus.FORBIDDEN, [], b"This origin is not allowed"
        return None

    async def close(self, server):
        """Lets pending sends finish, ends every chat, and closes with 1001."""
        self.is_closing = True
        running = [task for session in self.sessions for task in session.sends]
        if running:
            await asyncio.wait(running, timeout=DRAIN_TIMEOUT)
        for session in list(self.sessions):
            await session.cancel(session.sends)
        server.close()
        await server.wait_closed()


async def main():
    relay = Relay(os.environ["ARC_ENDPOINT"], os.environ.get("ARC_TOKEN"))
    stopped = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, lambda: stopped.done() or stopped.set_result(None))
    server = await serve(
        relay.accept,
        "127.0.0.1",
        int(os.environ.get("PORT", "3000")),
        process_request=relay.refuse,
        max_size=MAX_FRAME_BYTES,
        ping_interval=HEARTBEAT,
        ping_timeout=HEARTBEAT,
    )
    print(f"Open http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped
    await relay.close(server)


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
