"""Conversations with tools in the layouts of public data sets, and templates like those of well-known models."""

import json

from given.chats import written

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
WEATHER = {"name": "get_weather", "description": "The weather of a city.", "parameters": PARAMETERS}
TOOLS = [
    {"type": "function", "function": WEATHER},
    {"type": "function", "function": {"name": "get_time", "description": "The time.", "parameters": {}}},
]
ARGUMENTS = {"city": "Zürich", "days": 2}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
RESULT, ANSWER = '{"celsius": 21}', "It is 21 °C."
ASKED = {"role": "user", "content": "How warm is it in Zürich?"}

# As `apply_chat_template` takes the conversation that all of the rows below but the last one hold.
TURNS = [
    ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": RESULT},
    {"role": "assistant", "content": ANSWER},
]

# OpenAI's fine-tuning files (and data sets such as APIGen-MT, When2Call, toucan): arguments are JSON text.
OPENAI = {
    "messages": [
        ASKED,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": json.dumps(ARGUMENTS, ensure_ascii=False)},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": RESULT},
        {"role": "assistant", "content": ANSWER},
    ],
    "tools": TOOLS,
    "parallel_tool_calls": False,
}
# The older form of the same.
OPENAI_FUNCTIONS = {
    "messages": [
        ASKED,
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)},
        },
        {"role": "function", "name": "get_weather", "content": RESULT},
        {"role": "assistant", "content": ANSWER},
    ],
    "functions": [WEATHER, TOOLS[1]["function"]],
}
# glaive_toolcall_en of LLaMA-Factory: turns whose text is a call, tools as JSON text.
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": ASKED["content"]},
        {"from": "function_call", "value": json.dumps({"name": "get_weather", "arguments": ARGUMENTS})},
        {"from": "observation", "value": RESULT},
        {"from": "gpt", "value": ANSWER},
    ],
    "tools": json.dumps([WEATHER, TOOLS[1]["function"]]),
}
# xlam-function-calling-60k: the answers are calls, and nothing is done with them.
XLAM = {
    "id": 7,
    "query": ASKED["content"],
    "tools": json.dumps([WEATHER, TOOLS[1]["function"]]),
    "answers": json.dumps([CALL["function"], {"name": "get_time", "arguments": {}}]),
}
XLAM_TURNS = [
    ASKED,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [CALL, {"type": "function", "function": {"name": "get_time", "arguments": {}}}],
    },
]
# hermes-function-calling-v1: the system message says which tools there are, and calls are text.
HERMES = {
    "conversations": [
        {"from": "system", "value": f"You may call <tools> {json.dumps(TOOLS)} </tools>"},
        {"from": "human", "value": ASKED["content"]},
        {"from": "gpt", "value": f"<tool_call>\n{json.dumps(CALL['function'])}\n</tool_call>"},
        {"from": "tool", "value": f"<tool_response>\n{RESULT}\n</tool_response>"},
        {"from": "gpt", "value": ANSWER},
    ],
    "tools": json.dumps(TOOLS),
    "category": "Weather",
}

LISTED = (
    "{% if tools %}<|im_start|>system\nTools:"
    "{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
)
# Qwen's and Hermes': calls behind the content, in tags; thoughts before it in the turns after the last question.
TAGGED = written(
    "{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.index0 > last.user %}<think>\n{{ m.reasoning_content.strip() }}\n</think>\n\n"
    "{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n' if m.content or not loop.first else '' }}"
    '<tool_call>\n{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>{% endfor %}<|im_end|>\n{% endif %}",
    "<|im_start|>assistant\n",
    before=LISTED + "{% set last = namespace(user=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}",
)
# Mistral's: no opening of a response; tools before the last question.
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and not messages[loop.index0 + 1:] | selectattr('role', 'equalto', 'user') | list %}"
    "[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.tool_calls %}[TOOL_CALLS] ["
    "{% for call in m.tool_calls %}{{ call.function | tojson }}{{ ', ' if not loop.last else '' }}{% endfor %}]</s>"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
# gpt-oss': a call ends with a token of its own, and thoughts are messages.
CHANNELS = written(
    "{% if m.role == 'tool' %}<|im_start|>tool to assistant\n{{ m.content }}<|im_end|>\n"
    "{% elif m.tool_calls %}<|im_start|>assistant"
    "{% if m.thinking %} analysis\n{{ m.thinking }}<|im_end|>\n<|im_start|>assistant{% endif %}"
    " to={{ m.tool_calls[0].function.name }}\n{{ m.tool_calls[0].function.arguments | tojson }}<|end|>"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}",
    "<|im_start|>assistant",
    before=LISTED,
)
