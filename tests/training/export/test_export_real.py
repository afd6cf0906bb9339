"""The real 0.5B model: what is exported as GGUF computes what the trainer computes, prompted with the same tokens."""

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
from graph.prompts import StepForm, planner_messages, planner_opening
from tools.python import make_python_tool
from training.export.gguf import write_gguf
from training.export.gguf_adapter import write_gguf_adapter
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
    """The model with an adapter that changes what it says, merged, and a folder with both as GGUF files."""
    model, tokenizer = load_policy(str(base), "bfloat16")
    chat = ChatTokens(tokenizer)
    adapted = with_adapter(model, rank=4, alpha=8, targets="q_proj,k_proj,up_proj", seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.01 * torch.randn(weight.shape, generator=generator))
    folder = tmp_path_factory.mktemp("real")
    adapted.save_pretrained(folder / "adapter")  # type: ignore[operator]
    write_gguf_adapter(folder / "adapter", base, folder / "adapter.gguf", name="planner")
    merged = merge(adapted)
    write_gguf(merged, base, folder / "planner.gguf", "F16")
    yield merged, chat, folder
    (folder / "planner.gguf").unlink()


def openings(chat: ChatTokens) -> list[tuple[list[dict[str, str]], list[int]]]:
    """A planner's first prompts: as messages, and as the trainer's tokens."""
    tools = [make_python_tool(), ship_register(), parish_register()]
    opening = planner_opening(tools, form=StepForm.DIRECT, can_finish=True, max_turns=3)
    made = []
    for question in QUESTIONS:
        messages = planner_messages(opening, {"question": question}, "", 3, form=StepForm.DIRECT)
        speakers = {"system": "system", "human": "user", "ai": "assistant"}
        pairs = [(speakers[message.type], str(message.content)) for message in messages]
        made.append(([{"role": role, "content": text} for role, text in pairs], chat.opening(pairs)))
    return made


async def test_llama_cpp_agrees_with_the_trainer_in_prompt_and_probabilities(
    trained: tuple[PreTrainedModel, ChatTokens, Path],
) -> None:
    model, chat, folder = trained
    server = EmbeddedChat(
        model=str(folder / "planner.gguf"), settings=ServerSettings(slots=1, context=2048), timeout=600
    )
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


async def test_the_adapter_beside_the_quantised_base_replies_as_pefts(
    base: Path, trained: tuple[PreTrainedModel, ChatTokens, Path]
) -> None:
    """Greedy replies are the same but for choices that are as good as equal; the base alone says something else."""
    model, chat, folder = trained
    settings = ServerSettings(slots=2, context=256)
    plain = EmbeddedChat(model=str(base), settings=settings, temperature=0.0, max_tokens=16, timeout=600)
    adapted = plain.model_copy(update={"adapter": str(folder / "adapter.gguf")})
    lost: list[float] = []
    changed = 0
    for question in QUESTIONS:
        pairs = [("system", "Answer briefly."), ("user", question)]
        with_adapter, without = await greedy(adapted, pairs), await greedy(plain, pairs)
        changed += with_adapter != without
        ids = chat.opening(pairs)
        with torch.no_grad():
            scores = model(torch.tensor([ids + with_adapter])).logits[0, len(ids) - 1 : -1].float().log_softmax(-1)
        lost += [float(row.max() - row[token]) for row, token in zip(scores, with_adapter, strict=True)]
    assert sum(gap == 0.0 for gap in lost) > 0.9 * len(lost)
    assert max(lost) < 0.3
    assert changed


async def greedy(model: EmbeddedChat, messages: list[tuple[str, str]]) -> list[int]:
    """The token ids of a reply."""
    reply = await model.ainvoke(messages, logprobs=True)
    return [entry["id"] for entry in reply.additional_kwargs["tokens"]["logprobs"]]
