"""What each verb does, returning its exit code. The only room that prints."""
