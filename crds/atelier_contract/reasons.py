"""Condition types and reasons: every word that status, `kubectl get` and events use, spelled once."""

from __future__ import annotations

from enum import StrEnum

from atelier_contract.exit_codes import ExitCode


class Condition(StrEnum):
    """Condition types. All of a kind's types are present from the first look at an object."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATASET_READY = "DatasetReady"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    FINISHED = "Finished"
    SELECTION_VALID = "SelectionValid"
    FINALIZED = "Finalized"
    PROGRESS_REPORTED = "ProgressReported"
    INSTALLED = "Installed"


DATASET_CONDITIONS = (Condition.READY, Condition.RECONCILING, Condition.STALLED)
TRAINING_JOB_CONDITIONS = (
    Condition.READY,
    Condition.RECONCILING,
    Condition.STALLED,
    Condition.DATASET_READY,
    Condition.SUSPENDED,
    Condition.COMPLETE,
    Condition.FAILED,
    Condition.FINISHED,
    Condition.SELECTION_VALID,
    Condition.FINALIZED,
    Condition.PROGRESS_REPORTED,
)


class State(StrEnum):
    """Reason of a TrainingJob's Ready condition: the one word that `kubectl get` prints."""

    INVALID = "Invalid"
    WAITING_FOR_DATASET = "WaitingForDataset"
    PREFLIGHT = "Preflight"
    SUSPENDED = "Suspended"
    QUEUED = "Queued"
    SCHEDULING = "Scheduling"
    STARTING = "Starting"
    PREPARING = "Preparing"
    TRAINING = "Training"
    RESTARTING = "Restarting"
    AWAITING_SELECTION = "AwaitingSelection"
    PUBLISHING = "Publishing"
    COLLECTING = "Collecting"
    FINALIZED = "Finalized"
    FAILED = "Failed"
    DELETING = "Deleting"


READY_STATES = (State.AWAITING_SELECTION, State.FINALIZED)


class DatasetState(StrEnum):
    """Reason of a Dataset's Ready condition."""

    INVALID = "Invalid"
    INSPECTING = "Inspecting"
    INSPECTED = "Inspected"
    UNUSABLE = "Unusable"
    INSPECTION_FAILED = "InspectionFailed"


class Reason(StrEnum):
    """Reasons of all other conditions, and of Failed and Stalled."""

    AS_EXPECTED = "AsExpected"
    NOT_YET = "NotYet"
    NOT_ASKED = "NotAsked"
    IN_PROGRESS = "InProgress"
    USER_REQUEST = "UserRequest"
    TRAINING_COMPLETE = "TrainingComplete"
    STOPPED_EARLY = "StoppedEarly"
    ADOPTED = "Adopted"
    REPORTING = "Reporting"
    UNREACHABLE = "Unreachable"
    # Why a run failed or stalled.
    INVALID_INPUT = "InvalidInput"
    DATASET_CHANGED = "DatasetChanged"
    DATASET_UNUSABLE = "DatasetUnusable"
    BASE_MODEL_UNUSABLE = "BaseModelUnusable"
    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_HOST_MEMORY = "OutOfHostMemory"
    DIVERGED = "Diverged"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    STORAGE_NOT_CONFIGURED = "StorageNotConfigured"
    STORAGE_OWNED_BY_ANOTHER = "StorageOwnedByAnother"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PREFLIGHT_FAILED = "PreflightFailed"
    PUBLISH_FAILED = "PublishFailed"
    COLLECT_FAILED = "CollectFailed"
    NAME_TAKEN = "NameTaken"
    CREATE_REFUSED = "CreateRefused"
    UNKNOWN_CHECKPOINT = "UnknownCheckpoint"
    EMPTY_SELECTION = "EmptySelection"
    FINALIZE_AT_CREATION = "FinalizeAtCreation"
    WAITING_FOR_DATASET = "WaitingForDataset"
    # Why an attempt ended.
    COMPLETED = "Completed"
    INTERRUPTED = "Interrupted"
    NODE_LOST = "NodeLost"
    DISRUPTED = "Disrupted"
    PEER_LOST = "PeerLost"
    TRAINER_ERROR = "TrainerError"
    SUSPENDED = "Suspended"


REASON_OF_EXIT = {
    ExitCode.INVALID_INPUT: Reason.INVALID_INPUT,
    ExitCode.DATASET_UNUSABLE: Reason.DATASET_UNUSABLE,
    ExitCode.BASE_MODEL_UNUSABLE: Reason.BASE_MODEL_UNUSABLE,
    ExitCode.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    ExitCode.DIVERGED: Reason.DIVERGED,
    ExitCode.STORAGE_UNAVAILABLE: Reason.STORAGE_UNAVAILABLE,
    ExitCode.INTERRUPTED: Reason.INTERRUPTED,
    ExitCode.PEER_LOST: Reason.PEER_LOST,
}
"""A code that is missing here is a bug of ours: `Reason.TRAINER_ERROR`."""


class Finding(StrEnum):
    """What an inspection can find in a dataset."""

    SOURCE_MISSING = "SourceMissing"
    NO_PICTURES = "NoPictures"
    UNREADABLE_PICTURE = "UnreadablePicture"
    PICTURE_TOO_LARGE = "PictureTooLarge"
    PICTURE_TOO_SMALL = "PictureTooSmall"
    FORMAT_NOT_ALLOWED = "FormatNotAllowed"
    DUPLICATE_PICTURE = "DuplicatePicture"
    ANIMATED_PICTURE = "AnimatedPicture"
    CAPTION_MISSING = "CaptionMissing"
    CAPTION_MISNAMED = "CaptionMisnamed"
    CAPTION_WITHOUT_PICTURE = "CaptionWithoutPicture"
    CAPTION_UNREADABLE = "CaptionUnreadable"
    CAPTION_TOO_LONG = "CaptionTooLong"
    FEW_PICTURES = "FewPictures"
    MASK_WITHOUT_PICTURE = "MaskWithoutPicture"
    MASK_UNUSABLE = "MaskUnusable"
    FOLDER_REPEATS = "FolderRepeats"
    # Of files that are not what they seem, or that no reader should have to bear.
    POLYGLOT_PICTURE = "PolyglotPicture"
    PICTURE_BOMB = "PictureBomb"
    TOO_MANY_FRAMES = "TooManyFrames"
    FORMAT_NOT_INSTALLED = "FormatNotInstalled"
    TRANSPARENT_PICTURE = "TransparentPicture"
    COLOURS_CONVERTED = "ColoursConverted"
    PICTURE_TURNED = "PictureTurned"
    NAME_UNSAFE = "NameUnsafe"
    NAME_TOO_LONG = "NameTooLong"
    # Of layouts.
    CAPTION_LINES_JOINED = "CaptionLinesJoined"
    LAYOUT_CONFIG_UNUSABLE = "LayoutConfigUnusable"
    LAYOUT_SETTING_NOT_READ = "LayoutSettingNotRead"
    REGULARISATION_LEFT_OUT = "RegularisationLeftOut"
    SPLIT_LEFT_OUT = "SplitLeftOut"
    # Of archives; they are found before anything is pushed.
    ARCHIVE_UNSAFE_PATH = "ArchiveUnsafePath"
    ARCHIVE_LINK = "ArchiveLink"
    ARCHIVE_DEVICE = "ArchiveDevice"
    ARCHIVE_BOMB = "ArchiveBomb"
    ARCHIVE_TOO_MANY_FILES = "ArchiveTooManyFiles"
    ARCHIVE_NAME_CLASH = "ArchiveNameClash"
    ARCHIVE_ENCRYPTED = "ArchiveEncrypted"
    ARCHIVE_UNREADABLE = "ArchiveUnreadable"
    ARCHIVE_NESTED = "ArchiveNested"
    # Of pictures and captions beside one another.
    NEAR_DUPLICATE_PICTURE = "NearDuplicatePicture"
    PICTURE_OVERSIZED = "PictureOversized"
    PICTURE_CROPPED = "PictureCropped"
    NAME_CASE_CLASH = "NameCaseClash"
    CAPTION_SHARED = "CaptionShared"
    TRIGGER_MISSPELT = "TriggerMisspelt"
    TRIGGER_DOUBLED = "TriggerDoubled"
    TRIGGER_ABSENT = "TriggerAbsent"
    CAPTIONS_INCONSISTENT = "CaptionsInconsistent"
