"""Subject -> Trace: the only room that registers hooks and enters torch modes."""
