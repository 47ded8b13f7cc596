"""Room for what requests bring and answers take: apps that stay within a budget of memory."""

from gateway.errors import TryAgainLater
from gateway.proxy.memory_budget import SMALL, Holding, MemoryBudget, owner_at
from gateway.web.asgi import HOLDING, App, Message, Receive, Scope, Send, answer_error

TOO_MANY_WAIT = TryAgainLater("Too many large answers wait to be taken by your address; please try again")


def with_bodies_of(app: App, budget: MemoryBudget, size: int) -> App:
    """The app with bodies for which there is room: more than a small one is read when `size` bytes are reserved."""

    async def within_budget(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        owner = owner_at(client[0] if client else "")
        read, reserved = 0, False

        async def receive_in_turn() -> Message:
            nonlocal read, reserved
            message = await receive()
            read += len(message.get("body", b""))
            if read > SMALL and not reserved:
                await budget.bodies.reserve(owner, size)
                reserved = True
            return message

        try:
            await app(scope, receive_in_turn, send)
        finally:
            if reserved:
                budget.bodies.give_back(owner, size)

    return within_budget


def with_room_for_answers(app: App) -> App:
    """The app, whose answers come in one piece each: large ones as long as those that wait to be taken leave room."""

    async def within_budget(scope: Scope, receive: Receive, send: Send) -> None:
        holding: Holding | None = scope.get(HOLDING)
        if holding is None:  # whoever serves this connection looks at the size of answers
            await app(scope, receive, send)
            return
        start: Message | None = None
        refused = False

        async def send_if_there_is_room(message: Message) -> None:
            nonlocal start, refused
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None and message["type"] == "http.response.body":
                if not holding.take(len(message.get("body", b""))):
                    refused = True
                    await answer_error(send, TOO_MANY_WAIT)
                else:
                    await send(start)
                start = None
            if not refused:
                await send(message)

        await app(scope, receive, send_if_there_is_room)

    return within_budget
