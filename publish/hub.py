"""Pushing a published folder to the hub: one commit of exactly its files; a new repository is private."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from data.errors import shortened
from models.checkpoint import STATE
from publish.card import is_hub_id
from publish.errors import PublishError

NOT_CONTENT = {".gitattributes", "README.md"}  # of a repository that somebody has made by hand


def check_repository(repo: str) -> None:
    """Stop before anything is written, if the name cannot be one of the hub."""
    if not is_hub_id(repo):
        raise PublishError(f"push_to_hub is {shortened(repo)}; expected ORGANISATION/NAME.")


def push(folder: Path, repo: str, files: list[str]) -> str:
    """Push a whole folder.

    Args:
        folder: the published folder.
        repo: ORGANISATION/NAME; made private if it is new.
        files: exactly what is pushed, relative to the folder.

    Returns:
        The address of the commit.

    Raises:
        PublishError: the hub refuses, cannot be reached, or has another model of that name.
    """
    api, made = HfApi(), False
    try:
        try:
            there = set(api.list_repo_files(repo))
        except RepositoryNotFoundError:
            api.create_repo(repo, private=True)
            made, there = True, set()
        if there - NOT_CONTENT and STATE not in there:
            raise PublishError(
                f"push_to_hub is {repo}, which holds another model ({min(there - NOT_CONTENT)}). Name another."
            )
        commit = api.upload_folder(
            folder_path=folder, repo_id=repo, allow_patterns=files, commit_message="pre2post publish"
        )
    except PublishError:
        raise
    except Exception as error:  # of the hub, the network, the token: each library has its own kinds
        left = f"The new private repository {repo} is empty. " if made else "Nothing was published. "
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise PublishError(
            f"push_to_hub {repo}: the hub did not take it ({reason}). {left}{folder} is complete: log in "
            "(`hf auth login`, with a token that may write), then run the same command again."
        ) from error
    return str(commit.commit_url)
