"""Flow-GRPO from beginning to end in half a minute, on a CPU and without a download.

    python examples/train_tiny.py

A language model of some 30,000 random weights first learns, supervised, the form of a planner's reply; the tool in it
it chooses at random. Flow-GRPO then runs the real graph and rewards the runs whose answer is right, which those with
the tool `shout` are. A run of your own differs in its model, its tools and its tasks: see docs/training.md.
Needs the extra `train`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean

import torch
from langchain_core.tools import BaseTool, StructuredTool
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from graph.prompts import StepForm, planner_messages, planner_opening
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.launch import train
from training.rollouts.chat_tokens import ChatTokens
from training.run.metrics import read_metrics

OUT = Path("runs/tiny")
MODEL = Path("runs/tiny-model")
TASKS = Path("runs/tiny-tasks.jsonl")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def double(text: str) -> str:
    """Double it."""
    return "double"


def shout(text: str) -> str:
    """Shout it."""
    return "shout"


double_tool = StructuredTool.from_function(double)
shout_tool = StructuredTool.from_function(shout)
TOOLS: list[BaseTool] = [double_tool, shout_tool]


def tokenizer_for(text: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with 512 tokens, made for one text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=508,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def make_model(folder: Path, steps: int = 60) -> None:
    """Write a model that answers every question with one of the two tools, by chance."""
    torch.manual_seed(0)
    chance = random.Random(0)
    opening = planner_opening(TOOLS, form=StepForm.DIRECT, can_finish=True, max_turns=1)
    system = opening[0]
    tokenizer = tokenizer_for(str(system.content))
    chat = ChatTokens(tokenizer)
    config = Qwen2Config(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.05, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=chat.end_of_turn,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = torch.zeros(())
        for _ in range(4):
            question = f"Number {chance.randrange(100)}"
            _, asked = planner_messages(opening, {"question": question}, "", 1, form=StepForm.DIRECT)
            prompt = chat.opening([("system", str(system.content)), ("user", str(asked.content))])
            reply = [*chat.encoded(f"Tool: {chance.choice(TOOLS).name}\nInput: x"), chat.end_of_turn]
            labels = torch.tensor([[-100] * len(prompt) + reply])
            loss = loss + model(input_ids=torch.tensor([prompt + reply]), labels=labels).loss / 4
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Make the model and the tasks, train, and say what was learned."""
    torch.set_num_threads(1)  # several would wait for each other longer than they compute
    TASKS.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"id": str(n), "question": f"Number {n}", "answers": ["shout"]}) for n in range(16)]
    TASKS.write_text("\n".join(lines) + "\n")
    if not MODEL.exists():
        make_model(MODEL)
    config = FlowGRPOConfig(
        model=str(MODEL), out=str(OUT), tasks=str(TASKS), tools=("train_tiny:double_tool", "train_tiny:shout_tool"),
        direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=1, dtype="float32",
        steps=10, tasks_per_step=4, group_size=8, max_tokens=12, learning_rate=5e-3, lora_rank=0, save_every=10,
    )  # fmt: skip
    train(config)
    rewards = [line["reward"] for line in read_metrics(OUT / "metrics.jsonl") if "reward" in line]
    print(f"reward: {fmean(rewards[:2]):.2f} in the first two steps, {fmean(rewards[-2:]):.2f} in the last two")


if __name__ == "__main__":
    main()
