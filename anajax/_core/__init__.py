"""What every floor stands on: pytrees, types, checks, normal numbers."""
