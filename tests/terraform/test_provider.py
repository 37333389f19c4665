"""The provider that is asked for takes what our files say."""

from __future__ import annotations

import re
from pathlib import Path

TERRAFORM = Path(__file__).resolve().parents[2] / "deploy" / "terraform"
FIRST_WITH_A_MEBIBYTE = (6, 8)  # its changelog; before, 262144 was the most (hashicorp/terraform-provider-aws#43692)
OLD_MOST = 262_144


def test_no_provider_is_admitted_that_would_refuse_the_size_of_our_messages() -> None:
    sizes = re.findall(r'"MaximumMessageSize": "?(\d+)', (TERRAFORM / "queue.json").read_text())
    assert int(sizes[0]) > OLD_MOST
    lowest = re.search(
        r'source *= "hashicorp/aws"\s+version = ">= (\d+)\.(\d+)', (TERRAFORM / "versions.tf").read_text()
    )
    assert lowest is not None
    assert tuple(int(part) for part in lowest.groups()) >= FIRST_WITH_A_MEBIBYTE


def test_the_readme_names_what_a_release_of_another_name_needs() -> None:
    readme = (TERRAFORM / "README.md").read_text()
    variables = (TERRAFORM / "variables.tf").read_text()
    for name in ("namespace", "fullname", "name", "keda"):
        assert f"-var {name}=" in readme
        assert f'variable "{name}"' in variables
