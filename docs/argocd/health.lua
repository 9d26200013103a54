-- Health of a TrainingJob or a Dataset for Argo CD. The first that matches decides:
--   Failed or Stalled is true          Degraded
--   status speaks of an older spec     Progressing
--   suspended by the user              Suspended
--   Ready is true                      Healthy       (AwaitingSelection and Finalized; a dataset that was inspected)
--   else                               Progressing   (queued, running, waiting)
-- AwaitingSelection is healthy on purpose: a sync in waves must not wait until a person chooses.
local conditions = {}
local status = obj.status or {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local function say(kind)
  local condition = conditions[kind] or {}
  local message = condition.message or ""
  if message == "" then
    return condition.reason or "waiting for the operator"
  end
  return condition.reason .. ": " .. message
end

if is_true("Failed") then
  return {status = "Degraded", message = say("Failed")}
end
if is_true("Stalled") then
  return {status = "Degraded", message = say("Stalled")}
end
if status.observedGeneration == nil or status.observedGeneration < (obj.metadata.generation or 0) then
  return {status = "Progressing", message = "waiting for the operator to see the change"}
end
if is_true("Suspended") and obj.spec.suspend == true then
  return {status = "Suspended", message = say("Suspended")}
end
if is_true("Ready") then
  return {status = "Healthy", message = say("Ready")}
end
return {status = "Progressing", message = say("Ready")}
