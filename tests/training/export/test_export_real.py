"""The real 0.5B model: an exported GGUF file computes what the trainer computes, prompted with the same tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from graph.errors import AgentFlowError
from graph.models.download import MODEL_FILES, fetch
from graph.models.embedded import EmbeddedChat
from graph.models.server import Endpoint, post_json
from graph.models.server_settings import ServerSettings
from graph.prompts import planner_messages, planner_opening
from tools.python import make_python_tool
from training.export.gguf import write_gguf
from training.export.write import merge
from training.models.policy import load_policy, with_adapter
from training.rollouts.chat_tokens import ChatTokens
from training.town import parish_register, ship_register

pytestmark = pytest.mark.embedded

QUESTIONS = ("How large is the crew of the ship Karomel?", "What is 17 * 23 + 100?", "In which year was Odeka born?")


@pytest.fixture(scope="module")
def base() -> Path:
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    try:
        return fetch(MODEL_FILES["0.5b"])
    except AgentFlowError as error:
        pytest.skip(f"the 0.5B model cannot be obtained: {error}")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PreTrainedModel, ChatTokens, Path]]:
    """The model with an adapter that changes what it says, merged, and its GGUF file."""
    model, tokenizer = load_policy(str(base), "bfloat16")
    chat = ChatTokens(tokenizer)
    adapted = with_adapter(model, rank=4, alpha=8, targets="q_proj,k_proj,up_proj", seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))
    merged = merge(adapted)
    out = tmp_path_factory.mktemp("real") / "planner.gguf"
    write_gguf(merged, base, out, "F16")
    yield merged, chat, out
    out.unlink()


def openings(chat: ChatTokens) -> list[tuple[list[dict[str, str]], list[int]]]:
    """A planner's first prompts: as messages, and as the trainer's tokens."""
    tools = [make_python_tool(), ship_register(), parish_register()]
    opening = planner_opening(tools, direct=True, can_finish=True, max_turns=3)
    made = []
    for question in QUESTIONS:
        messages = planner_messages(opening, {"question": question}, "", 3, direct=True)
        speakers = {"system": "system", "human": "user", "ai": "assistant"}
        pairs = [(speakers[message.type], str(message.content)) for message in messages]
        made.append(([{"role": role, "content": text} for role, text in pairs], chat.opening(pairs)))
    return made


async def test_llama_cpp_agrees_with_the_trainer_in_prompt_and_probabilities(
    trained: tuple[PreTrainedModel, ChatTokens, Path],
) -> None:
    model, chat, file = trained
    server = EmbeddedChat(model=str(file), settings=ServerSettings(slots=1, context=1024), timeout=600)
    endpoint = await server._endpoint()
    root = Endpoint(endpoint.base_url.removesuffix("/v1"), timeout=600)
    for messages, ids in openings(chat):
        rendered = await post_json(root, "/apply-template", {"messages": messages})
        text = {"content": rendered["prompt"], "add_special": False, "parse_special": True}
        assert (await post_json(root, "/tokenize", text))["tokens"] == ids
        body = {"prompt": ids, "n_predict": 6, "temperature": 0.0, "n_probs": 1, "return_tokens": True}
        reply = await post_json(root, "/completion", body)
        drawn = list(reply["tokens"])
        with torch.no_grad():
            logits = model(torch.tensor([ids + drawn])).logits[0, len(ids) - 1 : -1].float()
        assert logits.argmax(-1).tolist() == drawn
        wanted = logits.log_softmax(-1).amax(-1).tolist()
        told = [entry["logprob"] for entry in reply["completion_probabilities"]]
        assert told == pytest.approx(wanted[: len(told)], abs=0.05)
