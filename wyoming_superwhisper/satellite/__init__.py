"""The satellite: a microphone and a loudspeaker in a room, in a process of its own."""
