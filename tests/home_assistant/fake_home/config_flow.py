"""The made-up home's config entry: made at the first start, without a question."""

from __future__ import annotations

from typing import Any

from homeassistant.config_entries import ConfigFlow, ConfigFlowResult


class FakeHomeFlow(ConfigFlow, domain="fake_home"):
    """There is one home at most."""

    VERSION = 1

    async def async_step_import(self, data: dict[str, Any]) -> ConfigFlowResult:
        if self._async_current_entries():
            return self.async_abort(reason="single_instance_allowed")
        return self.async_create_entry(title="Fake home", data={})
