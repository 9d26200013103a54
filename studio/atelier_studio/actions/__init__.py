"""What each verb changes, as pure functions over specs and statuses."""
