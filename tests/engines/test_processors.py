"""The machine's cores are counted as they are, not as many as they pretend to be."""

from pathlib import Path

from wyoming_superwhisper.engines.processors import physical_cores, usable_cpus


def test_two_threads_of_a_core_are_one_core(tmp_path: Path) -> None:
    for number, core in enumerate(("0,4", "1,5", "0,4", "1,5")):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "core_cpus_list").write_text(f"{core}\n")
    assert physical_cores(tmp_path) == 2


def test_a_machine_that_does_not_say_has_as_many_as_processors(tmp_path: Path) -> None:
    assert physical_cores(tmp_path) >= usable_cpus()
