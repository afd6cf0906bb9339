"""What all tests need."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Shells start background jobs with SIGINT ignored, which children inherit; tests that press Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# By default an example that takes more than 0.2 s fails its test, which on a busy machine any example may.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# The models of the tests are small: on a busy machine torch's threads wait for each other far longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SLOW = (
    "tests/agentflow/test_image.py",
    "tests/agentflow/test_installed.py",
    "tests/evals/benchmarks/test_benchmark_files.py",
    "tests/evals/benchmarks/test_cells.py",
    "tests/evals/benchmarks/test_loading.py::test_every_benchmark_is_downloaded_from_the_hub",
    "tests/evals/runs/test_run.py::test_a_stopped_run_goes_on_and_ends_with_the_same_file",
    "tests/evals/runs/test_run.py::test_failures_of_the_server_are_tried_again_and_then_counted",
    "tests/evals/runs/test_run.py::test_two_processes_cannot_write_one_folder",
    "tests/evals/scorers/test_maths.py::test_math_that_never_ends_is_cut_off_and_the_next_answer_is_judged",
    "tests/evals/scorers/test_mutations.py",
    "tests/evals/speed/test_retrieval.py",
    "tests/evals/speed/test_speed.py",
    "tests/evals/view/test_page.py",
    "tests/evals/view/test_server.py::test_neither_training_nor_torch_is_imported",
    "tests/evals/view/test_server.py::test_the_command_serves_until_it_is_interrupted",
    "tests/evals/view/test_size.py",
    "tests/examples",
    "tests/graph/models/test_download.py::test_the_mirror_continues_after_the_parts_it_has",
    "tests/graph/models/test_download.py::test_the_mirror_stands_in_for_the_hub",
    "tests/graph/models/test_embedded.py",
    "tests/graph/models/test_openai_compatible.py::test_one_model_serves_many_event_loops_and_threads",
    "tests/graph/models/test_openai_compatible.py::test_retry_after_is_honoured_up_to_a_limit",
    "tests/graph/models/test_prefixes.py",
    "tests/graph/models/test_progress.py::test_reading_is_told_piece_by_piece",
    "tests/graph/test_characters.py",
    "tests/graph/test_cli.py::test_a_human_is_asked_at_the_terminal",
    "tests/graph/test_cli.py::test_ctrl_c_ends_with_the_best_answer_so_far",
    "tests/graph/test_dev_server.py",
    "tests/graph/test_graph.py::test_infrastructure_failures_leave_the_run",
    "tests/graph/test_graph.py::test_the_time_budget_ends_in_an_answer",
    "tests/graph/test_imports.py",
    "tests/graph/test_resume.py",
    "tests/graph/test_speculation.py",
    "tests/graph/test_terminal.py",
    "tests/graph/test_tool_calls.py::test_ctrl_c_stops_a_run_inside_a_tool",
    "tests/graph/test_tool_calls.py::test_infrastructure_failures_leave_the_run",
    "tests/test_documents.py",
    "tests/tools/test_mcp.py",
    "tests/tools/test_sandbox.py::test_many_run_at_once",
    "tests/tools/test_sandbox.py::test_the_time_limit_is_kept",
    "tests/tools/test_sandbox_hostile.py",
    "tests/tools/test_sandbox_ordinary_user.py",
    "tests/tools/test_web.py::test_an_engine_out_of_reach_is_tried_again_then_reported",
    "tests/tools/test_web.py::test_searches_are_spaced_out",
    "tests/training/engines/test_child.py",
    "tests/training/engines/test_vllm.py",
    "tests/training/export",
    "tests/training/flow_grpo",
    "tests/training/gpu_check",
    "tests/training/rollouts/door",
    "tests/training/rollouts/test_background.py",
    "tests/training/rollouts/test_collector.py::test_a_dead_policy_server_is_a_failure_and_no_reward",
    "tests/training/rollouts/test_collector.py::test_with_30_percent_of_all_calls_failing_nothing_is_lost_or_mixed_up",
    "tests/training/rollouts/test_factory.py::test_what_a_run_does_wrong_earns_what_its_state_earns",
    "tests/training/rollouts/test_held_up.py",
    "tests/training/run/test_command.py::test_help_needs_no_torch",
    "tests/training/test_map.py::test_names_are_handed_on_without_loading_anything",
    "tests/training/test_replay.py",
    "tests/training/test_sft.py",
    "tests/training/test_speed.py",
    "tests/training/test_validate.py",
    "tests/training/test_vllm_trial.py",
    "tests/training/update/test_logprobs.py",
    "tests/training/update/test_random_agents.py",
    "tests/training/update/test_role_gradients.py",
)
"""What `make test-fast` leaves out, by folder, file or function: about a second and more.

Find out what is due: `python -m pytest -m "not slow" --durations=20`.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow."""
    for item in items:
        name = item.nodeid.partition("[")[0]
        if any(name == slow or name.startswith((f"{slow}/", f"{slow}::")) for slow in SLOW):
            item.add_marker(pytest.mark.slow)
