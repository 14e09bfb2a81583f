"""The link to a Home Assistant that the settings name: names out of it, intents into it. Front process only."""
