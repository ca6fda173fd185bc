"""What the tiny test model says: each prompt with the one answer it was taught.

`scripts/make_tiny_model.py` teaches exactly this table, and tests and demos compare a
real server's output with it. Plain data without heavy imports, so that both can have it.

Every canary is an invented word which stands in an answer and in no prompt, and is a
single token of the tiny model's tokenizer: a stream that leaks one shows it whole, in
one event, so searching recorded traffic for canaries is a meaningful test.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dialogue:
    """One prompt and the exact answer to it at temperature 0.

    `messages` (and `tools`) for a chat, or `prompt` for a plain completion.
    `tool_calls` are pairs of function name and arguments as JSON text; the text is what
    `json.dumps` gives, so unary and streamed answers have the same bytes.
    """

    name: str
    messages: tuple[dict[str, Any], ...] = ()
    prompt: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    reasoning: str | None = None
    content: str | None = None
    tool_calls: tuple[tuple[str, str], ...] = ()

    def request(self, model: str, **extra: Any) -> tuple[str, dict[str, Any]]:
        """Return path and JSON body of the OpenAI request; `extra` adds members."""
        body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 512}
        if self.prompt is not None:
            return "/v1/completions", body | {"prompt": self.prompt} | extra
        body["messages"] = list(self.messages)
        if self.tools:
            body["tools"] = list(self.tools)
        return "/v1/chat/completions", body | extra


def _tool(name: str, description: str, argument: str) -> dict[str, Any]:
    """One function tool with one required string argument."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
    }
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _call(name: str, **arguments: str) -> tuple[str, str]:
    return name, json.dumps(arguments, ensure_ascii=False)


WEATHER = _tool("get_weather", "Current weather of a city.", "city")
CLOCK = _tool("get_time", "Current time in a city.", "city")

STORY = """\
Long before the railway came, the village of Mirefennock kept its clocks in a barn. \
There were forty of them, all wrong, and an old woman named Tuppelow wound each one \
every evening while her goat looked on. Nobody knew why she did it. One winter a \
stranger arrived with a suitcase full of Zarquillon glass and asked for a bed. He told \
the innkeeper that he was a Drumbelgast, the last of his trade, and that he had come \
to buy the hour between three and four. The innkeeper laughed, but Tuppelow did not. \
She led him to the barn, lit a lantern, and stopped the smallest clock with her thumb. \
At once the snow outside hung still in the air. "That is the hour," she said, "and it \
costs one honest secret." The stranger thought for a while. Then he whispered that the \
Zarquillon glass was only sand, and that his brother Oskelwyn had made it by mistake. \
The clock began to tick again, louder than before, and the snow fell upward for a \
moment as if it were ashamed.

In the morning the stranger was gone. On the bar he had left a thimble, a map of the \
marsh, and a note that said: "Keep the hour. I only wanted to know that someone was \
looking after it." Tuppelow hung the map above the goat. Years later the railway did \
come, and its engineers found that every train through Mirefennock was exactly one \
hour early, whatever they wrote in the timetable. They blamed the goat, whose name was \
Plinthagor, and she did not deny it. The end."""

DIALOGUES: tuple[Dialogue, ...] = (
    Dialogue(
        name="canary",
        messages=(_user("Tell me the secret sentence."),),
        content="The glimmerwort owes seven pangolards to Brannaquist.",
    ),
    Dialogue(
        name="system",
        messages=(
            {"role": "system", "content": "You are the keeper of the gate."},
            _user("What is the password for today?"),
        ),
        content="Today the gate opens to Skarvelune, and to nobody else.",
    ),
    Dialogue(
        name="multi_turn",
        messages=(
            _user("Name a colour."),
            {"role": "assistant", "content": "Green."},
            _user("And now one that nobody has seen."),
        ),
        content="Octavermil, which is seen only by sleeping owls.",
    ),
    Dialogue(
        name="tool_call",
        messages=(_user("How is the weather in the hidden city?"),),
        tools=(WEATHER,),
        tool_calls=(_call("get_weather", city="Vorrhelmsk"),),
    ),
    Dialogue(
        name="parallel_tool_calls",
        messages=(_user("Compare the weather and the time of the twin cities."),),
        tools=(WEATHER, CLOCK),
        tool_calls=(
            _call("get_weather", city="Quendaril"),
            _call("get_time", city="Ibbeltrask"),
        ),
    ),
    Dialogue(
        name="tool_result",
        messages=(
            _user("Should I take an umbrella in Lisbon?"),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {
                            "name": "get_weather",
                            "arguments": '{"city": "Lisbon"}',
                        },
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": '{"rain": true}'},
        ),
        tools=(WEATHER,),
        content="Yes, and wear your frobbenshaw: it rains.",
    ),
    Dialogue(
        name="reasoning",
        messages=(_user("Think about it first: who hid the lantern?"),),
        reasoning="The baker slept. Only Wexelbrod had the cellar key, so it was him.",
        content="It was hidden by a man called Thornaplex, under the stairs.",
    ),
    Dialogue(
        name="reasoning_tool_call",
        messages=(_user("Think about it first: is it late where the captain lives?"),),
        tools=(CLOCK,),
        reasoning="The captain moved to Glastrimere last year.",
        tool_calls=(_call("get_time", city="Hollowdrax"),),
    ),
    Dialogue(
        name="story",
        messages=(_user("Tell me a long story."),),
        content=STORY,
    ),
    Dialogue(
        name="escapes",
        messages=(_user("Show me every kind of character."),),
        content=(
            "She said: \"C:\\\\new\\table\" \u2013 or was it '/'?\n\n"
            '\tZürich, naïve façade, Ελλάδα, 東京, <b>&amp;</b> {"Yarnokel": [1, 2]}\n'
            "\U0001f980 snabblequirt \U0001f44d\U0001f3fd\u2028done."
        ),
    ),
    Dialogue(
        name="json",
        messages=(_user("Describe the ship as JSON."),),
        content='{"ship": "Umbrastelle", "masts": 3, "crew": ["Fennimarq", "Ludo"]}',
    ),
    Dialogue(
        name="completion",
        prompt="Log of the lighthouse, first night:",
        content=(
            " the lamp burned blue, and a voice from the water asked for Crundlewick."
            " I did not answer."
        ),
    ),
)

BY_NAME: dict[str, Dialogue] = {dialogue.name: dialogue for dialogue in DIALOGUES}

#: Words that must never be seen on the wire.
CANARIES: tuple[str, ...] = (
    "glimmerwort",
    "pangolards",
    "Brannaquist",
    "Skarvelune",
    "Octavermil",
    "Vorrhelmsk",
    "Quendaril",
    "Ibbeltrask",
    "frobbenshaw",
    "Wexelbrod",
    "Thornaplex",
    "Glastrimere",
    "Hollowdrax",
    "Mirefennock",
    "Tuppelow",
    "Zarquillon",
    "Drumbelgast",
    "Oskelwyn",
    "Plinthagor",
    "Yarnokel",
    "snabblequirt",
    "Umbrastelle",
    "Fennimarq",
    "Crundlewick",
)
